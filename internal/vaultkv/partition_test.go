package vaultkv_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// A process that is cut off from Vault refuses to read after a second, does not storm the network with thousands of waiters, and when it is back says
// nothing of before: the first answer has what was changed meanwhile.
func TestOneProcessIsCutOff(t *testing.T) {
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
