package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// events reads the audit log.
func (w *world) events(t *testing.T) []keybearer.Event {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Home, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []keybearer.Event
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // being written
		}
		var e keybearer.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// event waits for the event of a request in a phase.
func (w *world) event(t *testing.T, id string, phase keybearer.Phase) (found keybearer.Event) {
	t.Helper()
	harness.Await(t, fmt.Sprintf("audit line of request %s, %s", id, phase), 10*time.Second, func() error {
		for _, e := range w.events(t) {
			if e.ID == id && e.Phase == phase {
				found = e
				return nil
			}
		}
		return fmt.Errorf("not there")
	})
	return found
}

// checkAudit checks that the log has an intent and an outcome for each of so many uses, and a line for each refusal.
func (w *world) checkAudit(t *testing.T, uses, refusals int) {
	t.Helper()
	type have struct{ intents, outcomes, refusals int }
	want := have{uses, uses, refusals}
	var got have
	phases := map[string]int{}
	harness.Await(t, "audit lines", 20*time.Second, func() error {
		got = have{}
		clear(phases)
		for _, e := range w.events(t) {
			switch {
			case e.Kind == keybearer.UseEvent && e.Phase == keybearer.Intent:
				got.intents++
				phases[e.ID]++
			case e.Kind == keybearer.UseEvent && e.Phase == keybearer.Outcome:
				got.outcomes++
				phases[e.ID] += 10
				if e.DestinationStatus != 200 || e.Code != "" {
					return fmt.Errorf("outcome %+v", e)
				}
			case e.Kind == keybearer.RefusalEvent:
				got.refusals++
			}
		}
		if got != want {
			return fmt.Errorf("%+v, not %+v", got, want)
		}
		return nil
	})
	for id, p := range phases {
		if p != 11 {
			t.Errorf("request %s has %d intents and %d outcomes", id, p%10, p/10)
		}
	}
}
