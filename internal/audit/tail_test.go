package audit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var all []keybearer.Event
	var content []byte
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		e := *fullEvent()
		e.Time = e.Time.UTC()
		e.ID, e.Port = fmt.Sprint("r", i), uint16(i)
		e.Path = "/" + strings.Repeat("x", random.IntN(200))
		if i == 1500 {
			e.Path = strings.Repeat("y", 300<<10) // longer than what is read at once
		}
		content = append(AppendEvent(content, &e), '\n')
		e.Time = e.Time.Truncate(1000)
		all = append(all, e)
		switch i {
		case 700:
			content = append(content, "not an event\n"...)
		case 701:
			content = append(content, '\n')
		}
	}
	odd := func(e *keybearer.Event) bool { return e.Port%2 == 1 }
	var odds []keybearer.Event
	for i := range all {
		if odd(&all[i]) {
			odds = append(odds, all[i])
		}
	}
	for _, end := range []string{"", `{"time":"20`} { // a line that is being written is none yet
		if err := os.WriteFile(path, append(slices.Clone(content), end...), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 2, 499, 500, 501, 1999, 2000, 5000} {
			got, err := Tail(t.Context(), path, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(ids(all[max(0, len(all)-n):]), ids(got)); diff != "" {
				t.Fatalf("last %d: %s", n, diff)
			}
			got, err = Tail(t.Context(), path, n, odd)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(odds[max(0, len(odds)-n):], got, cmp.Transformer("list", func(e []keybearer.Event) []string { return ids(e) })); diff != "" {
				t.Fatalf("last %d odd: %s", n, diff)
			}
		}
	}
	one, err := Tail(t.Context(), path, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[len(all)-1:], one); diff != "" {
		t.Error(diff)
	}
}

func TestTailOfLittle(t *testing.T) {
	for content, want := range map[string]int{"": 0, "\n": 0, "{}": 0, "{}\n": 1, "\n{}\n": 1, "{}\n\n": 1, "{}\n{": 1, "{}\n{}\n": 2} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Tail(t.Context(), path, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != want {
			t.Errorf("%q: %d events, want %d", content, len(got), want)
		}
	}
}

func TestTailErrors(t *testing.T) {
	_, err := Tail(t.Context(), filepath.Join(t.TempDir(), "absent"), 1, nil)
	wantCode(t, err, keybearer.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Tail(ctx, path, 1, nil)
	wantCode(t, err, keybearer.AuditUnavailable)
}

// Backwards goes on from the log to the files that it was before, newest first, and no further than it is asked to.
func TestBackwardsGoesOnWithRotatedFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	write := func(name string, from, to int) {
		t.Helper()
		var content []byte
		for i := from; i < to; i++ {
			e := *fullEvent()
			e.ID, e.Time = fmt.Sprint("r", i), e.Time.Add(time.Duration(i)*time.Second)
			content = append(AppendEvent(content, &e), '\n')
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("audit.jsonl.2", 0, 10)
	write("audit-2026-01-02T03-04-05.000.jsonl", 10, 20)
	write("audit.jsonl.1", 20, 30)
	write("audit.jsonl", 30, 35)
	write("other.jsonl", 90, 95)
	if err := os.WriteFile(filepath.Join(dir, "audit.jsonl.3.gz"), []byte("\x1f\x8b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 5, 6, 15, 16, 34, 35, 100} {
		var got []string
		err := Backwards(t.Context(), path, func(e *keybearer.Event) bool {
			got = append(got, e.ID)
			return len(got) < n
		})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := 34; i >= max(0, 35-n); i-- {
			want = append(want, fmt.Sprint("r", i))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d (-want +got):\n%s", n, diff)
		}
	}
	err := Backwards(t.Context(), filepath.Join(dir, "none.jsonl"), func(*keybearer.Event) bool { return true })
	if keybearer.CodeOf(err) != keybearer.NotFound {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = Backwards(ctx, path, func(*keybearer.Event) bool { cancel(); return true })
	if keybearer.CodeOf(err) != keybearer.AuditUnavailable {
		t.Error(err)
	}
}
