package fleet

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// outage is one way in which a part that all rests on can be away.
type outage struct {
	name        string
	begin, mend func(*testing.T, *fleet)

	// code is how a request is answered that needs the part; "" when the outage is no outage for anybody.
	code keybearer.Code
	// answers says that the part does answer, with a refusal: then nothing that was opened before serves.
	answers bool
}

const (
	outageRate = 150             // requests a second, over all nodes
	outageTime = 4 * time.Second // how long a part is away
	recovery   = 5 * time.Second // how soon all is well after it is back
)

// endure lets one outage happen under load, and checks what the load and what a credential that no node has in memory saw.
func (f *fleet) endure(t *testing.T, o outage, cold string) {
	t.Helper()
	f.t = t
	f.credential(cold)
	for _, c := range []string{"docs/c0", "docs/c1", "docs/c2"} {
		f.ready(c)
	}
	l := f.load(outageRate, f.nodes, "docs/c0", "docs/c1", "docs/c2")
	f.pass(l, time.Second)
	o.begin(t, f)
	away := l.now()
	f.pass(l, outageTime/2)
	for _, n := range f.nodes {
		a := n.send(t.Context(), cold)
		if a.code != string(o.code) || o.code != "" && !a.retry {
			t.Errorf("%s: a credential that is not in memory is answered %q (Retry-After: %v), want %q", n.name, a.code, a.retry, o.code)
		}
	}
	f.pass(l, outageTime-(l.now()-away))
	back := l.now()
	o.mend(t, f)
	mended := time.Now()
	var all sync.WaitGroup
	wanted := []string{cold, "docs/c0", "docs/c1", "docs/c2"}
	errs := make([]error, len(wanted)*len(f.nodes))
	for i, n := range f.nodes {
		for j, c := range wanted {
			all.Go(func() { _, errs[i*len(wanted)+j] = n.until(c, "", 2*recovery) })
		}
	}
	all.Wait()
	recovered, well := time.Since(mended), l.now() // to mend it takes a moment too
	if err := errors.Join(errs...); err != nil || recovered > recovery {
		t.Errorf("recovered after %v: %v", recovered, err)
	}
	f.pass(l, time.Second)
	seen := l.stop()

	lost := seen.failed()
	during := seen.between(away+time.Second, back)
	served := len(during) - len(during.failed())
	switch {
	case !o.answers:
		if len(lost) > 0 {
			t.Errorf("%d of %d requests were lost: %s", len(lost), len(seen), lost.codes())
		}
	case served > 0:
		t.Errorf("%d requests were served with what was opened before, though the answer was no", served)
	default:
		for _, x := range lost {
			if x.code != string(o.code) || !x.retry {
				t.Errorf("lost with %q, Retry-After: %v", x.code, x.retry)
			}
		}
	}
	if rest := seen.between(well, time.Hour).failed(); len(rest) > 0 {
		t.Errorf("%d requests were lost after all was well again: %s", len(rest), rest.codes())
	}
	if slow := seen.slowest(); slow > 4*time.Second {
		t.Errorf("a request took %v", slow)
	}
	report(t, o.name, fmt.Sprintf("%d requests in %v of it, %d lost, %d served from memory, the slowest after %v; all well %v after its end",
		len(seen.between(away, back)), outageTime, len(lost), served, millis(seen.slowest()), millis(recovered)))
}

// pass waits while the load goes on, for so long.
func (f *fleet) pass(l *load, d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.t.Context().Done():
	}
}

// cables does something to the cable of every node.
func (f *fleet) cables(of func(*node) *harness.Cable, do func(*harness.Cable)) {
	for _, n := range f.nodes {
		do(of(n))
	}
}

func toVault(n *node) *harness.Cable { return n.toVault }
func toStore(n *node) *harness.Cable { return n.toStore }

// network makes the outages of the way to a part.
func network(part string, code keybearer.Code, to func(*node) *harness.Cable) []outage {
	mend := func(t *testing.T, f *fleet) { f.cables(to, func(c *harness.Cable) { c.Mend(f.life) }) }
	return []outage{
		{name: "the way to " + part + " cut", code: code, begin: func(t *testing.T, f *fleet) { f.cables(to, (*harness.Cable).Cut) }, mend: mend},
		{name: "the way to " + part + " stalled", code: code, begin: func(t *testing.T, f *fleet) { f.cables(to, (*harness.Cable).Stall) }, mend: mend},
	}
}

// TestWhenVaultIsAwayNothingThatIsOpenIsLost: whatever keeps Vault from answering, opened secrets serve; and all is well soon after.
func TestWhenVaultIsAwayNothingThatIsOpenIsLost(t *testing.T) {
	t.Parallel() // most of it is waiting
	f := newFleet(t, plan{options: []string{"secret_ttl 1s", "keyring_max_stale 30s"}, vault: harness.VaultOptions{Persistent: true}})
	f.billing(3)
	policies := harness.DocumentedPolicies(t, "docs/vault.md")
	outages := append(network("Vault", keybearer.KeyringUnavailable, toVault), []outage{
		{
			name: "Vault sealed", code: keybearer.KeyringUnavailable,
			begin: func(t *testing.T, f *fleet) { f.vault.Seal(t) },
			mend:  func(t *testing.T, f *fleet) { f.vault.Unseal(t) },
		},
		{
			name: "Vault killed and started again", code: keybearer.KeyringUnavailable,
			begin: func(t *testing.T, f *fleet) { f.vault.Kill() },
			mend:  func(t *testing.T, f *fleet) { f.vault.Start(f.life) },
		},
		{
			name: "Vault answering 429", code: keybearer.KeyringUnavailable,
			begin: func(t *testing.T, f *fleet) {
				f.vault.Must(t, "POST", "sys/quotas/rate-limit/tight", map[string]any{"path": "keybearer", "rate": 0.001, "interval": "1h"})
			},
			mend: func(t *testing.T, f *fleet) { f.vault.Must(t, "DELETE", "sys/quotas/rate-limit/tight", nil) },
		},
		{
			name: "Vault answering 403", code: keybearer.KeyringUnavailable, answers: true,
			begin: func(t *testing.T, f *fleet) {
				f.vault.Policy(t, "keybearer-data", `path "none" { capabilities = ["deny"] }`)
			},
			mend: func(t *testing.T, f *fleet) { f.vault.Policy(t, "keybearer-data", policies["keybearer-data"]) },
		},
		{
			name: "the tokens of all servers revoked in Vault",
			begin: func(t *testing.T, f *fleet) {
				f.vault.Must(t, "PUT", "sys/leases/revoke-prefix/auth/approle/login", nil)
			},
			mend: func(t *testing.T, f *fleet) {},
		},
	}...)
	for i, o := range outages {
		t.Run(strings.ReplaceAll(o.name, " ", "_"), func(t *testing.T) { f.endure(t, o, fmt.Sprintf("docs/cold%d", i)) })
	}
}

// TestWhenTheActiveVaultIsGoneItsStandbyIsNoAnswer: the servers talk to a standby, which forwards; without the active one it cannot.
func TestWhenTheActiveVaultIsGoneItsStandbyIsNoAnswer(t *testing.T) {
	t.Parallel() // most of it is waiting
	f := newFleet(t, plan{options: []string{"secret_ttl 1s", "keyring_max_stale 60s"}, vault: harness.VaultOptions{Persistent: true}, standby: true})
	f.billing(3)
	f.endure(t, outage{
		name: "the active Vault killed, the standby left", code: keybearer.KeyringUnavailable,
		begin: func(t *testing.T, f *fleet) { f.vault.Kill() },
		mend: func(t *testing.T, f *fleet) {
			f.vault.StartSealed(f.life)
			harness.Rejoin(t, f.vault, f.standby)
		},
	}, "docs/cold")
}

// TestWhenPostgresIsAwayNothingThatIsKnownIsLost is the same for the store.
func TestWhenPostgresIsAwayNothingThatIsKnownIsLost(t *testing.T) {
	t.Parallel() // most of it is waiting
	f := newFleet(t, plan{options: []string{"secret_ttl 1s", "store_max_stale 30s"}})
	f.billing(3)
	outages := append(network("PostgreSQL", keybearer.StoreUnavailable, toStore), []outage{
		{
			name: "PostgreSQL stopped and started again", code: keybearer.StoreUnavailable,
			begin: func(t *testing.T, f *fleet) { f.pg.Stop(t) },
			mend:  func(t *testing.T, f *fleet) { f.pg.Start(f.life) },
		},
		{
			name: "PostgreSQL killed and started again", code: keybearer.StoreUnavailable,
			begin: func(t *testing.T, f *fleet) { f.pg.Kill(t) },
			mend:  func(t *testing.T, f *fleet) { f.pg.Start(f.life) },
		},
		{
			name: "PostgreSQL restarted",
			begin: func(t *testing.T, f *fleet) {
				f.pg.Stop(t)
				f.pg.Start(f.life)
			},
			mend: func(t *testing.T, f *fleet) {},
		},
		{
			name: "PostgreSQL read-only",
			begin: func(t *testing.T, f *fleet) {
				f.pg.ReadOnly(t, true)
				for _, n := range f.nodes {
					if _, err := n.api.DisableCredential(t.Context(), keybearer.Ref{Scope: "docs", Name: "c0"}); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
						t.Errorf("%s: a change is answered %v, want store_unavailable", n.name, err)
					}
				}
			},
			mend: func(t *testing.T, f *fleet) { f.pg.ReadOnly(t, false) },
		},
	}...)
	for i, o := range outages {
		t.Run(strings.ReplaceAll(o.name, " ", "_"), func(t *testing.T) { f.endure(t, o, fmt.Sprintf("docs/cold%d", i)) })
	}
}

// TestWhatMayServeWhileAPartIsAwayServesNoLonger: after its time every request is refused, with Retry-After, and none is sent.
func TestWhatMayServeWhileAPartIsAwayServesNoLonger(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, tc := range []struct {
		name    string
		options []string
		code    keybearer.Code
		serves  time.Duration // at least, after the part is gone
		ends    time.Duration // at the latest
		begin   func(*testing.T, *fleet)
		mend    func(*testing.T, *fleet)
	}{
		{
			"keyring_max_stale 4s",
			[]string{"secret_ttl 1s", "keyring_max_stale 4s"},
			keybearer.KeyringUnavailable, 2 * time.Second, 5 * time.Second,
			func(t *testing.T, f *fleet) { f.vault.Seal(t) }, func(t *testing.T, f *fleet) { f.vault.Unseal(t) },
		},
		{
			"keyring_max_stale 0",
			[]string{"secret_ttl 1s", "keyring_max_stale 0"},
			keybearer.KeyringUnavailable, 0, 2 * time.Second,
			func(t *testing.T, f *fleet) { f.vault.Seal(t) }, func(t *testing.T, f *fleet) { f.vault.Unseal(t) },
		},
		{
			"store_max_stale 4s",
			[]string{"store_max_stale 4s"},
			keybearer.StoreUnavailable, 3 * time.Second, 5 * time.Second,
			func(t *testing.T, f *fleet) { f.pg.Stop(t) }, func(t *testing.T, f *fleet) { f.pg.Start(f.life) },
		},
		{
			"store_max_stale 0",
			[]string{"store_max_stale 0"},
			keybearer.StoreUnavailable, 0, 3 * time.Second,
			func(t *testing.T, f *fleet) { f.pg.Stop(t) }, func(t *testing.T, f *fleet) { f.pg.Start(f.life) },
		},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			f := newFleet(t, plan{options: tc.options, nodes: 2})
			f.billing(1)
			f.ready("docs/c0")
			tc.begin(t, f)
			l := f.load(100, f.nodes, "docs/c0")
			f.pass(l, tc.ends+2*time.Second)
			gone := l.now()
			tc.mend(t, f)
			mended := l.now()
			f.ready("docs/c0")
			recovered := l.now() - mended
			seen := l.stop()
			if early := seen.between(0, tc.serves).failed(); len(early) > 0 {
				t.Errorf("%d requests were lost too early: %s", len(early), early.codes())
			}
			late := seen.between(tc.ends, gone)
			if served := len(late) - len(late.failed()); served > 0 || len(late) < 50 {
				t.Errorf("%d of %d requests were served after the time was over", served, len(late))
			}
			last := time.Duration(0)
			for _, x := range seen.between(0, gone) {
				switch {
				case x.code == "":
					last = x.at
				case x.code != string(tc.code) || !x.retry:
					t.Errorf("refused with %q, Retry-After: %v", x.code, x.retry)
				}
			}
			if recovered > recovery {
				t.Errorf("recovered after %v", recovered)
			}
			report(t, strings.TrimSpace(tc.name), fmt.Sprintf("%d requests; the last one served %v after the part was gone; all well %v after its end", len(seen), millis(last), millis(recovered)))
		})
	}
}

// TestAKnownRevocationHoldsThroughAnOutage: a node that has heard of it never serves it, whatever is away.
func TestAKnownRevocationHoldsThroughAnOutage(t *testing.T) {
	t.Parallel() // most of it is waiting
	f := newFleet(t, plan{options: []string{"store_max_stale 1h", "keyring_max_stale 1h"}})
	f.billing(2)
	f.ready("docs/c0")
	f.ready("docs/c1")
	must(f.nodes[0].api.RemoveGrant(t.Context(), keybearer.Ref{Scope: "docs", Name: "c0"}, "app:billing"))(t)
	for _, n := range f.nodes {
		if _, err := n.until("docs/c0", keybearer.CredentialForbidden, holdsWithin); err != nil {
			t.Fatal(err)
		}
	}
	f.cables(toStore, (*harness.Cable).Cut)
	f.vault.Seal(t)
	l := f.load(100, f.nodes, "docs/c0")
	other := f.load(100, f.nodes, "docs/c1")
	f.pass(l, 4*time.Second)
	revoked, kept := l.stop(), other.stop()
	if served := len(revoked) - len(revoked.failed()); served > 0 {
		t.Errorf("%d of %d requests were served with a revoked grant", served, len(revoked))
	}
	if lost := kept.failed(); len(lost) > 0 {
		t.Errorf("%d requests beside it were lost: %s", len(lost), lost.codes())
	}
	report(t, "a revoked grant while PostgreSQL and Vault are away", fmt.Sprintf("%d requests for it, none served; %d beside it, %d lost", len(revoked), len(kept), len(kept.failed())))
}

// TestANodeThatIsCutOffFallsBehindForItsTimeAndNoLonger: the others are as quick as ever; it serves what it knew for store_max_stale, and hears of
// what it missed within two seconds after the network is mended.
func TestANodeThatIsCutOffFallsBehindForItsTimeAndNoLonger(t *testing.T) {
	t.Parallel() // most of it is waiting
	for how, do := range map[string]func(*harness.Cable){"stalled": (*harness.Cable).Stall, "cut": (*harness.Cable).Cut} {
		t.Run(how, func(t *testing.T) {
			f := newFleet(t, plan{options: []string{"store_max_stale 6s"}})
			f.billing(2)
			f.ready("docs/c0")
			f.ready("docs/c1")
			lone := f.nodes[1]
			do(lone.toStore)
			gone := time.Now()
			must(f.nodes[0].api.DisableCredential(t.Context(), keybearer.Ref{Scope: "docs", Name: "c0"}))(t)
			for _, n := range []*node{f.nodes[0], f.nodes[2]} {
				if _, err := n.until("docs/c0", keybearer.CredentialDisabled, holdsWithin); err != nil {
					t.Error(err)
				}
			}
			lone.serves("docs/c0", "") // it cannot know
			if _, err := lone.until("docs/c0", keybearer.StoreUnavailable, 10*time.Second); err != nil {
				t.Error(err)
			}
			ended := time.Since(gone)
			if ended > 9*time.Second {
				t.Errorf("it served what it knew for %v", ended)
			}
			lone.toStore.Mend(t)
			heard, err := lone.until("docs/c0", keybearer.CredentialDisabled, holdsWithin)
			if err != nil {
				t.Error(err)
			}
			if _, err := lone.until("docs/c1", "", holdsWithin); err != nil {
				t.Error(err)
			}
			report(t, "one node of three, its way to PostgreSQL "+how, fmt.Sprintf("it served what it knew for %v (store_max_stale 6s), and heard what it had missed %v after the end", millis(ended), millis(heard)))
		})
	}
}
