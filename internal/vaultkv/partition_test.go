package vaultkv_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// A process that is cut off from Vault refuses to read after a second, does not storm the network with thousands of waiters, and when it is back says
// nothing of before: the first answer has what was changed meanwhile.
func TestOneProcessIsCutOff(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	a := h.open(t, "a")
	cable := harness.StartCable(t, h.Addr)
	c := h.config("b")
	c.vault.Address = "http://" + cable.Addr.String()
	b := openWith(t, c)
	told := listen(t, b)
	for _, cut := range []struct {
		name string
		do   func()
	}{{"cut", cable.Cut}, {"stalled", cable.Stall}} {
		t.Run(cut.name, func(t *testing.T) {
			caller := newCaller(cut.name)
			caller.Revision = must(a.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: caller}}}))(t)
			look(t, b)
			cut.do()
			caller.Disabled = true
			seq := must(a.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: caller}}}))(t)
			read := func() error {
				got, err := b.Caller(t.Context(), cut.name)
				if err == nil && !got.Disabled {
					return fmt.Errorf("it still says what was before")
				}
				return err
			}
			harness.Await(t, "reads are refused", 4*time.Second, func() error {
				if err := read(); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
					return fmt.Errorf("read: %w", err)
				}
				return nil
			})
			before := cable.Connections()
			var wg sync.WaitGroup
			for range 2000 {
				wg.Go(func() {
					if err := read(); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
						t.Errorf("read: %v", err)
					}
				})
			}
			wg.Wait()
			if n := cable.Connections() - before; n > 5 {
				t.Errorf("2,000 reads made %d connections", n)
			}
			cable.Mend(t)
			harness.Await(t, "it is back", 5*time.Second, func() error {
				err := read()
				if err != nil && keybearer.CodeOf(err) != keybearer.StoreUnavailable {
					t.Fatal(err)
				}
				return err
			})
			if got := told.heard(); got[len(got)-1].Seq != seq {
				t.Errorf("told up to %+v, want %d", got[len(got)-1], seq)
			}
		})
	}
}

// Thousands of readers whose records have not been confirmed for a second ask Vault once.
func TestManyAskOnce(t *testing.T) {
	t.Parallel()
	const readers = 5000
	h := newLab(t, harness.VaultOptions{}).home(t)
	var waiting sync.WaitGroup
	var asked atomic.Int64
	var counting atomic.Bool
	c := h.config("a")
	c.Poll = time.Hour
	c.vault.Address = through(t, h, func(*http.Request) {
		if counting.Load() {
			asked.Add(1)
			waiting.Wait()
		}
	})
	s := openWith(t, c)
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	harness.Await(t, "nothing has been confirmed for a second", 5*time.Second, func() error {
		if age := time.Since(s.Current()); age < time.Second {
			return fmt.Errorf("confirmed %v ago", age)
		}
		return nil
	})
	counting.Store(true)
	waiting.Add(readers)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			waiting.Done()
			if _, err := s.Caller(t.Context(), "billing"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("%d readers made %d requests", readers, n)
	}
}
