package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

func openLog(t testing.TB, path string, o Options) *Log {
	t.Helper()
	l, err := OpenFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fileEvents reads every line of a log; each must be an event.
func fileEvents(t testing.TB, path string) []keybearer.Event {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.Fatalf("the file ends within a line: %q", data[max(0, len(data)-200):])
	}
	var events []keybearer.Event
	for line := range bytes.Lines(data) {
		e, err := ParseEvent(line)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		events = append(events, e)
	}
	return events
}

func ids(events []keybearer.Event) []string {
	var out []string
	for i := range events {
		out = append(out, events[i].ID)
	}
	return out
}

func event(id string) *keybearer.Event {
	return &keybearer.Event{
		Time: time.Now(), ID: id, Phase: keybearer.Intent, Kind: keybearer.UseEvent, Scope: "docs", Credential: "crm",
		CredentialID: "crd_aaaabbbbccccddddeeeeffffgg", SecretVersion: 3, Caller: "billing", TokenID: "tok_" + id, Method: "POST", Scheme: "https",
		Host: "api.example.com", Port: 443, Path: "/hook/7", Decision: keybearer.Allow, Rule: "https://api.example.com",
	}
}

func wantCode(t testing.TB, err error, code keybearer.Code) {
	t.Helper()
	if got := keybearer.CodeOf(err); got != code {
		t.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

func TestRecordIsInTheFileWhenItReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{})
	var want []string
	for i := range 100 {
		id := fmt.Sprint("r", i)
		if err := l.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
		if diff := cmp.Diff(want, ids(fileEvents(t, path))); diff != "" {
			t.Fatal(diff)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("file mode %v, want 0600", info.Mode().Perm())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{})
	for i := range 50 {
		l.Post(event(fmt.Sprint("p", i)))
		if !l.Offer(event(fmt.Sprint("o", i))) {
			t.Fatal("an offer was dropped though there was room")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(fileEvents(t, path)); got != 100 {
		t.Errorf("%d events in the file, want 100", got)
	}
}

func TestPostIsWrittenWithoutAnyoneWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{})
	defer l.Close()
	live := l.Subscribe(t.Context(), 0, nil)
	l.Post(event("p"))
	if e := <-live; e.Event.ID != "p" {
		t.Fatalf("got %+v", e)
	}
	if diff := cmp.Diff([]string{"p"}, ids(fileEvents(t, path))); diff != "" {
		t.Error(diff)
	}
}

// Events of one goroutine stand in the order of its calls, whichever methods it used, and all of them are there.
func TestOrderUnderManyGoroutines(t *testing.T) {
	const goroutines, each = 64, 300
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{Queue: 100}) // small: posts have to make room
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			e := event("")
			for i := range each {
				e.ID = fmt.Sprintf("%d/%d", g, i)
				if i%3 == 0 {
					l.Post(e)
				} else if err := l.Record(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := make([]int, goroutines)
	for _, id := range ids(fileEvents(t, path)) {
		a, b, _ := strings.Cut(id, "/")
		g, _ := strconv.Atoi(a)
		i, _ := strconv.Atoi(b)
		if next[g] != i {
			t.Fatalf("goroutine %d: event %d where %d was due", g, i, next[g])
		}
		next[g]++
	}
	for g, n := range next {
		if n != each {
			t.Errorf("goroutine %d: %d events, want %d", g, n, each)
		}
	}
}

// While the turn is held, whatever is queued must come out in one write.
func TestGroupCommit(t *testing.T) {
	const waiters = 64
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{})
	defer l.Close()
	l.turn <- struct{}{}
	results := make(chan error, waiters)
	for i := range waiters {
		go func() { results <- l.Record(t.Context(), event(fmt.Sprint(i))) }()
	}
	for l.QueueLen() < waiters {
		select {
		case err := <-results:
			t.Fatalf("a Record returned before it was written: %v", err)
		default:
			runtime.Gosched()
		}
	}
	if got := len(fileEvents(t, path)); got != 0 {
		t.Fatalf("%d events were written without the turn", got)
	}
	if err := l.flush(); err != nil { // the one write
		t.Fatal(err)
	}
	if got := len(fileEvents(t, path)); got != waiters {
		t.Fatalf("one flush wrote %d events, want %d", got, waiters)
	}
	for range waiters {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	<-l.turn
}

func TestCancelledRecordLeavesNoLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{Queue: 2})
	l.turn <- struct{}{} // nothing can be written
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for _, id := range []string{"a", "b"} {
		go func() { results <- l.Record(ctx, event(id)) }()
	}
	for l.QueueLen() < 2 {
		runtime.Gosched()
	}
	go func() { results <- l.Record(ctx, event("c")) }() // waits for room, not for its batch
	if l.Offer(event("d")) {
		t.Error("Offer took an event though the queue was full")
	}
	if l.Dropped() != 1 {
		t.Errorf("Dropped is %d, want 1", l.Dropped())
	}
	cancel()
	for range 3 {
		err := <-results
		wantCode(t, err, keybearer.AuditUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v does not wrap the cancellation", err)
		}
	}
	if n := l.QueueLen(); n != 0 {
		t.Errorf("%d events are still queued", n)
	}
	<-l.turn
	if err := l.Ready(); err != nil {
		t.Errorf("a cancellation made the log unready: %v", err)
	}
	if err := l.Record(t.Context(), event("e")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"e"}, ids(fileEvents(t, path))); diff != "" {
		t.Error(diff)
	}
}

// A log must not keep what it was given: buffers behind an event's strings may be used again.
func TestEventIsCopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := openLog(t, path, Options{})
	e := event("first")
	e.Changed = []string{"rules"}
	l.Post(e)
	e.ID, e.Changed[0] = "second", "other"
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := fileEvents(t, path)
	if len(got) != 1 || got[0].ID != "first" || got[0].Changed[0] != "rules" {
		t.Errorf("got %+v", got)
	}
}

func benchmarkRecord(b *testing.B, goroutines int, post bool) {
	l := openLog(b, filepath.Join(b.TempDir(), "audit.jsonl"), Options{})
	defer l.Close()
	ctx := b.Context()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			e := event("req_aaaabbbbccccddddeeeeffffgg")
			for range b.N/goroutines + min(1, max(0, b.N%goroutines-g)) {
				if err := l.Record(ctx, e); err != nil {
					b.Error(err)
					return
				}
				if post {
					l.Post(e)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkRecord(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint("goroutines=", n), func(b *testing.B) { benchmarkRecord(b, n, false) })
		b.Run(fmt.Sprint("withPost/goroutines=", n), func(b *testing.B) { benchmarkRecord(b, n, true) })
	}
}
