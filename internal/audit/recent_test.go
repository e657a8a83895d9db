package audit

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

func TestSubscribe(t *testing.T) {
	l := openLog(t, filepath.Join(t.TempDir(), "audit.jsonl"), Options{Recent: 4})
	record := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			e := event(fmt.Sprint(i))
			e.Port = uint16(i)
			if err := l.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := func(c <-chan Entry, want ...string) {
		t.Helper()
		for _, w := range want {
			e := <-c
			if got := fmt.Sprintf("%s after %d lost", e.Event.ID, e.Lost); got != w {
				t.Fatalf("got %s, want %s", got, w)
			}
		}
	}
	record(0, 3)
	two := l.Subscribe(t.Context(), 2, nil)
	all := l.Subscribe(t.Context(), 100, nil)
	none := l.Subscribe(t.Context(), 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	gone := l.Subscribe(ctx, -1, nil)
	odd := l.Subscribe(t.Context(), 3, func(e *keybearer.Event) bool { return e.Port%2 == 1 })
	take(two, "1 after 0 lost", "2 after 0 lost")
	take(all, "0 after 0 lost", "1 after 0 lost", "2 after 0 lost")
	take(odd, "1 after 0 lost")
	cancel()
	if _, open := <-gone; open {
		t.Error("the channel is still open after its context was done")
	}
	record(3, 4)
	for _, c := range []<-chan Entry{two, all, none, odd} {
		take(c, "3 after 0 lost")
	}
	record(4, 20) // the ring holds 16 to 19; each subscriber may have event 4 in hand already
	for name, c := range map[string]<-chan Entry{"two": two, "none": none, "odd": odd} {
		next, first := 4, true
		for next < 20 {
			e := <-c
			id := 0
			if _, err := fmt.Sscan(e.Event.ID, &id); err != nil {
				t.Fatal(err)
			}
			if name == "odd" {
				if id%2 != 1 {
					t.Fatalf("%s: got event %d", name, id)
				}
				if id == 19 {
					next = 20
				}
				continue
			}
			if id != next+int(e.Lost) {
				t.Fatalf("%s: event %d after %d lost, where %d was next", name, id, e.Lost, next)
			}
			if first && e.Lost == 0 && id != 4 {
				t.Fatalf("%s: nothing lost before event %d", name, id)
			}
			next, first = id+1, false
		}
	}
	// A subscriber that reads nothing holds up nobody, and is told of all it missed.
	record(20, 40)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen, lost := 0, 0
	for e := range all {
		seen++
		lost += int(e.Lost)
	}
	if seen+lost != 36 || seen < 4 || lost == 0 { // events 4 to 39
		t.Errorf("saw %d events and was told of %d lost, want 36 together", seen, lost)
	}
	if _, open := <-two; open {
		for range two {
		}
	}
}

// What was not written must not show up in the live view.
func TestSubscribeShowsOnlyWhatWasWritten(t *testing.T) {
	l := openLog(t, "/dev/full", Options{})
	live := l.Subscribe(t.Context(), 10, nil)
	wantCode(t, l.Record(t.Context(), event("a")), keybearer.AuditUnavailable)
	_ = l.Close()
	var got []string
	for e := range live {
		got = append(got, e.Event.ID)
	}
	if diff := cmp.Diff([]string(nil), got); diff != "" {
		t.Error(diff)
	}
}
