package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
	"pgregory.net/rapid"
)

// memoryLedger is a ledger that a test can make fail, before or after it has done its work.
type memoryLedger struct {
	keybearer.Ledger
	mu         sync.Mutex
	uses       []keybearer.UseRecord
	checkpoint keybearer.Checkpoint
	failBefore bool
	failAfter  bool
}

var errLedger = keybearer.NewError(keybearer.StoreUnavailable, "made to fail")

func (m *memoryLedger) RecordUses(ctx context.Context, uses []keybearer.UseRecord, c keybearer.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failBefore || ctx.Err() != nil {
		return errLedger
	}
	m.uses = append(m.uses, uses...)
	m.checkpoint = c
	if m.failAfter {
		return errLedger
	}
	return nil
}

func (m *memoryLedger) Checkpoint(context.Context) (keybearer.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failBefore {
		return keybearer.Checkpoint{}, errLedger
	}
	return m.checkpoint, nil
}

func (m *memoryLedger) fail(before, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failBefore, m.failAfter = before, after
}

func (m *memoryLedger) recorded() []keybearer.UseRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sortUses(slices.Clone(m.uses))
}

func sortUses(uses []keybearer.UseRecord) []keybearer.UseRecord {
	slices.SortFunc(uses, func(a, b keybearer.UseRecord) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.At.Compare(b.At), cmp.Compare(a.Status, b.Status))
	})
	return uses
}

// countedIn reads log files the plain way: all outcomes and refusals of known credentials, and the intents that have no outcome.
func countedIn(t testing.TB, files ...string) []keybearer.UseRecord {
	t.Helper()
	var uses []keybearer.UseRecord
	intents := map[string]keybearer.UseRecord{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var e map[string]any
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			text := func(key string) string { s, _ := e[key].(string); return s }
			number := func(key string) int { n, _ := e[key].(float64); return int(n) }
			if text("credential_id") == "" || text("event") == "change" {
				continue
			}
			at, err := time.Parse(time.RFC3339, text("time"))
			if err != nil {
				t.Fatal(err)
			}
			u := keybearer.UseRecord{
				CredentialID: text("credential_id"), Scope: text("scope"), Caller: text("caller"), TokenID: text("token_id"), User: text("acting_user"),
				Host: fmt.Sprintf("%s:%d", text("host"), number("port")), Status: number("destination_status"),
				Code: keybearer.Code(text("code")), Refused: text("event") == "refusal", At: at,
			}
			if text("phase") == "intent" {
				u.Code = keybearer.Internal
				intents[text("id")] = u
			} else {
				delete(intents, text("id"))
				uses = append(uses, u)
			}
		}
	}
	for _, u := range intents {
		uses = append(uses, u)
	}
	return sortUses(uses)
}

func use(id string, phase keybearer.Phase, at time.Time) *keybearer.Event {
	e := event(id)
	e.Time, e.Phase = at, phase
	e.Host = strings.ToLower(id) + ".example.com" // so that each use can be told from the others
	if phase == keybearer.Outcome {
		e.DestinationStatus, e.DurationMS = 200+int(at.UnixMicro()%300), 1.5
	}
	return e
}

func refusal(id string, at time.Time) *keybearer.Event {
	e := use(id, keybearer.Outcome, at)
	e.Kind, e.Decision, e.Code, e.DestinationStatus = keybearer.RefusalEvent, keybearer.Refuse, keybearer.DestinationNotAllowed, 0
	return e
}

func follow(t testing.TB, l *Log, ledger keybearer.Ledger) *Feed {
	t.Helper()
	f, err := Follow(t.Context(), l, ledger)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	ledger := &memoryLedger{}
	l := openLog(t, path, Options{})
	f := follow(t, l, ledger)
	start := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	l.Post(use("a", keybearer.Intent, start))
	l.Post(use("a", keybearer.Outcome, start.Add(time.Second)))
	l.Post(refusal("b", start.Add(2*time.Second)))
	unknown := refusal("c", start) // of a credential that does not exist
	unknown.CredentialID = ""
	l.Post(unknown)
	l.Post(&keybearer.Event{Time: start, ID: "d", Phase: keybearer.Outcome, Kind: keybearer.ChangeEvent, CredentialID: "crd_x", Action: "credential.edit"})
	l.Post(use("e", keybearer.Intent, start)) // open: counts with its outcome
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []keybearer.UseRecord{
		{CredentialID: event("").CredentialID, Scope: event("").Scope, Caller: "billing", TokenID: "tok_a", Host: "a.example.com:443", Status: use("a", keybearer.Outcome, start.Add(time.Second)).DestinationStatus, At: start.Add(time.Second)},
		{CredentialID: event("").CredentialID, Scope: event("").Scope, Caller: "billing", TokenID: "tok_b", Host: "b.example.com:443", Code: keybearer.DestinationNotAllowed, Refused: true, At: start.Add(2 * time.Second)},
	}
	if diff := gocmp.Diff(want, ledger.recorded()); diff != "" {
		t.Fatal(diff)
	}
	if _, err := Follow(t.Context(), l, &memoryLedger{}); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Errorf("a second feed: %v", err)
	}
	l.Post(use("e", keybearer.Outcome, start.Add(3*time.Second)))
	if err := l.Close(); err != nil { // brings the ledger up to date
		t.Fatal(err)
	}
	if diff := gocmp.Diff(countedIn(t, path), ledger.recorded()); diff != "" {
		t.Error(diff)
	}
}

// The feed works by itself, once a second, and tells when the ledger fell behind.
func TestFollowInTheBackground(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, path, Options{})
		defer l.Close()
		ledger := &memoryLedger{}
		f := follow(t, l, ledger)
		round := func() {
			time.Sleep(feedEvery) // of the bubble's clock
			synctest.Wait()
		}
		l.Post(refusal("a", time.Now()))
		round()
		if n := len(ledger.recorded()); n != 1 || f.Err() != nil {
			t.Errorf("%d uses recorded, %v; want 1", n, f.Err())
		}
		ledger.fail(true, false)
		l.Post(refusal("b", time.Now()))
		round()
		if n := len(ledger.recorded()); n != 1 || !errors.Is(f.Err(), errLedger) {
			t.Errorf("%d uses recorded, %v; want 1 and the ledger's error", n, f.Err())
		}
		ledger.fail(false, false)
		round()
		if n := len(ledger.recorded()); n != 2 || f.Err() != nil {
			t.Errorf("%d uses recorded, %v; want 2", n, f.Err())
		}
	})
}

// Whatever happens in whatever order (uses, refusals, rotation in three ways, failures of the ledger before and after its
// work, restarts with and without a last word to the ledger), each line counts exactly once in the end.
func TestFollowExactlyOnce(t *testing.T) {
	base, outer := t.TempDir(), t
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "audit.jsonl")
		ledger := &memoryLedger{}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		tick := func() time.Time { now = now.Add(time.Millisecond); return now }
		var l *Log
		var f *Feed
		begin := func(before func()) {
			var err error
			if l, err = OpenFile(path, Options{}); err != nil {
				t.Fatal(err)
			}
			before()
			if f, err = Follow(context.Background(), l, ledger); err != nil {
				t.Fatal(err)
			}
		}
		begin(func() {})
		var files, open []string // rotated files, oldest first
		ids := 0
		write := func(e *keybearer.Event) {
			if err := l.Record(context.Background(), e); err != nil {
				t.Fatal(err)
			}
		}
		intent := func() {
			ids++
			id := fmt.Sprint("r", ids)
			open = append(open, id)
			write(use(id, keybearer.Intent, tick()))
		}
		rename := func() {
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
			old := fmt.Sprintf("%s-%06d", path, len(files))
			if err := os.Rename(path, old); err != nil {
				t.Fatal(err)
			}
			files = append(files, old)
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		actions := map[string]func(*rapid.T){
			"intent": func(*rapid.T) { intent() },
			"outcome": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				write(use(open[i], keybearer.Outcome, tick()))
				open = slices.Delete(open, i, i+1)
			},
			"refusal": func(*rapid.T) { ids++; write(refusal(fmt.Sprint("r", ids), tick())) },
			"flush":   func(*rapid.T) { _ = f.Flush(context.Background()) },
			"ledger": func(t *rapid.T) {
				ledger.fail(rapid.Bool().Draw(t, "before"), rapid.Bool().Draw(t, "after"))
			},
			"rename": func(*rapid.T) { rename() },
			"copytruncate": func(*rapid.T) {
				if err := l.Reopen(); err != nil { // once a second at most
					t.Fatal(err)
				}
				old := fmt.Sprintf("%s-%06d", path, len(files))
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.WriteFile(old, data, 0o600), os.Truncate(path, 0)); err != nil {
					t.Fatal(err)
				}
				files = append(files, old)
				if rapid.Bool().Draw(t, "noticed") { // else more is written first, perhaps beyond the old size
					if err := l.Reopen(); err != nil {
						t.Fatal(err)
					}
				}
			},
			"follow anew": func(t *rapid.T) {
				_ = f.Close() // whether or not the ledger takes it
				ledger.fail(false, false)
				if rapid.Bool().Draw(t, "rotated meanwhile") {
					rename()
				}
				var err error
				if f, err = Follow(context.Background(), l, ledger); err != nil {
					t.Fatal(err)
				}
			},
			"restart": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "killed") {
					ledger.fail(true, false) // the ledger hears nothing of the end
				} else {
					ledger.fail(false, false)
				}
				_ = l.Close()
				if rapid.Bool().Draw(t, "rotated meanwhile") {
					old := fmt.Sprintf("%s-%06d", path, len(files))
					if err := os.Rename(path, old); err != nil {
						t.Fatal(err)
					}
					files = append(files, old)
				}
				ledger.fail(false, false)
				open = nil
				early := rapid.Bool().Draw(t, "use before follow")
				begin(func() {
					if early {
						intent()
					}
				})
			},
		}
		t.Repeat(actions)
		ledger.fail(false, false)
		_ = l.Close()
		begin(func() {}) // counts what was open
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(countedIn(outer, append(files, path)...), ledger.recorded()); diff != "" {
			t.Fatalf("ledger differs from files (-want +got):\n%s", diff)
		}
	})
}

// What the ledger costs for each line of the log, beside what it costs in the ledger.
func BenchmarkFeed(b *testing.B) {
	path := filepath.Join(b.TempDir(), "audit.jsonl")
	var lines []byte
	const uses = 10_000
	for range uses {
		e := event(keybearer.NewID(keybearer.IDRequest))
		lines = append(AppendEvent(lines, e), '\n')
		e.Phase, e.DestinationStatus = keybearer.Outcome, 200
		lines = append(AppendEvent(lines, e), '\n')
	}
	if err := os.WriteFile(path, lines, 0o600); err != nil {
		b.Fatal(err)
	}
	l := openLog(b, path, Options{})
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		f := follow(b, l, &memoryLedger{})
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/uses/2, "ns/line")
}
