package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

const (
	kills    = 200
	settling = 20 * time.Second // how long what a kill left undone may take
)

// crew makes changes on the nodes one and two while they are killed, and knows what must be there afterwards.
type crew struct {
	f        *fleet
	mu       sync.Mutex
	current  map[string][]string // secrets that a credential may have now: one, or more where the outcome of a change is not known
	acked    int                 // secrets set
	attempts int
}

// TestNothingAcknowledgedIsLostByKills: servers, PostgreSQL and Vault are killed at any moment while keys are rotated and regenerated and
// secrets are replaced. Whatever was begun is finished, by whoever is left, and what was acknowledged is there.
func TestNothingAcknowledgedIsLostByKills(t *testing.T) {
	f := newFleet(t, plan{nodes: 2, options: []string{"secret_ttl 1s"}, vault: harness.VaultOptions{Persistent: true}, postgres: []string{"fsync=on"}})
	f.billing(12)
	ctx := t.Context()
	must(f.nodes[0].api.CreateScope(ctx, admin.NewScope{Name: "short-lived"}))(t)
	must(f.nodes[0].api.GenerateKey(ctx, "short-lived"))(t)
	must(f.nodes[0].api.BindCaller(ctx, "billing", "short-lived"))(t)
	c := &crew{f: f, current: map[string][]string{}}
	for i := range 12 {
		name := fmt.Sprintf("docs/c%d", i)
		c.current[name] = []string{secretOf(name)}
	}
	var slowest time.Duration
	interrupted := 0
	for i := range kills {
		victim := f.nodes[rand.IntN(2)]
		working, done := context.WithCancel(ctx)
		var busy sync.WaitGroup
		for j := range 2 {
			busy.Go(func() { c.replace(working, j) })
		}
		var op error
		busy.Go(func() {
			if i%2 == 0 {
				_, op = victim.api.RotateKey(ctx, "docs")
			} else {
				op = c.regenerate(victim, i)
			}
		})
		f.moment()
		restart := c.kill(victim, i)
		done()
		busy.Wait()
		if op != nil {
			interrupted++
		}
		restart()
		began := time.Now()
		c.settled()
		slowest = max(slowest, time.Since(began))
		c.check()
		if t.Failed() {
			t.Fatalf("after %d kills", i+1)
		}
	}
	if interrupted < kills/20 {
		t.Errorf("only %d of %d operations were interrupted: the kills come too late", interrupted, kills)
	}
	lines := 0
	for _, n := range f.nodes {
		lines += n.lines(t, "credential.set-secret")
	}
	if lines < c.acked || lines > c.attempts {
		t.Errorf("%d lines in the audit logs for %d acknowledged of %d changes", lines, c.acked, c.attempts)
	}
	report(t, "processes killed during rotate and regenerate", fmt.Sprintf("%d kills, %d operations interrupted, %d secrets replaced meanwhile, nothing acknowledged lost; all finished within %v of the restart",
		kills, interrupted, c.acked, millis(slowest)))
}

// moment waits for a random moment of the operation that was just begun.
func (f *fleet) moment() { <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond) }

// kill kills something, most often the server that is at work, and returns what starts it again.
func (c *crew) kill(victim *node, i int) (restart func()) {
	t, f := c.f.t, c.f
	switch i % 40 {
	case 13:
		f.pg.Kill(t)
		return func() { f.pg.Start(t) }
	case 26:
		f.vault.Kill()
		return func() { f.vault.Start(t) }
	}
	victim.Kill()
	return func() {
		if err := victim.TryStart(t); err != nil {
			t.Fatalf("%s does not start again: %v", victim.name, err)
		}
	}
}

// replace sets new secrets until ctx ends: one of two workers, each for credentials of its own.
func (c *crew) replace(ctx context.Context, worker int) {
	for ctx.Err() == nil {
		ref := keybearer.Ref{Scope: "docs", Name: fmt.Sprintf("c%d", 2*rand.IntN(6)+worker)}
		name, secret := ref.String(), fmt.Sprintf("replaced-%s-%d", ref.Name, rand.Int64())
		c.mu.Lock()
		c.attempts++
		c.current[name] = append(c.current[name], secret)
		c.f.allow(name, c.current[name]...)
		c.mu.Unlock()
		_, err := c.f.nodes[rand.IntN(2)].api.SetSecret(context.WithoutCancel(ctx), ref, admin.SecretInput{Secret: admin.NewPlaintext(secret)})
		if err != nil {
			continue // it may have happened, or not
		}
		c.mu.Lock()
		c.acked++
		c.current[name] = []string{secret}
		c.f.allow(name, secret)
		c.mu.Unlock()
	}
}

// regenerate destroys what the scope short-lived holds, and makes something new in it.
func (c *crew) regenerate(n *node, i int) error {
	ctx := c.f.t.Context()
	page, err := n.api.Credentials(ctx, "short-lived", admin.ListQuery{Deleted: true})
	if err != nil {
		return err
	}
	_, err = n.api.RegenerateKey(ctx, "short-lived", admin.Regenerate{Confirmation: admin.Confirmation{Confirm: "short-lived", ExpectedCredentials: len(page.Items)}})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.current {
		if strings.HasPrefix(name, "short-lived/") {
			delete(c.current, name)
			c.f.allow(name) // acknowledged: nothing that was there may ever arrive
		}
	}
	return nil
}

// settled waits until every node answers and no long operation is left, and makes a credential in the scope that is regenerated.
func (c *crew) settled() {
	t, f := c.f.t, c.f
	deadline := time.Now().Add(settling)
	for {
		var left []string
		for _, n := range f.nodes {
			page, err := n.api.Scopes(t.Context(), admin.ListQuery{})
			if err != nil {
				left = append(left, n.name+": "+err.Error())
			}
			for _, s := range page.Items {
				if s.Work != nil {
					left = append(left, fmt.Sprintf("%s: %s of %s at %d of %d, waiting for %q", n.name, s.Work.Kind, s.Name, s.Work.Done, s.Work.Total, s.Work.Waiting))
				}
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not done after %v: %s", settling, strings.Join(left, "; "))
		}
		<-time.After(20 * time.Millisecond)
	}
	name := fmt.Sprintf("short-lived/s%d", rand.Int64())
	for err := f.tryCredential(name); err != nil; err = f.tryCredential(name) { // Vault may be back for less than a second
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		name = fmt.Sprintf("short-lived/s%d", rand.Int64()) // that one may be there, or not
		<-time.After(50 * time.Millisecond)
	}
	c.mu.Lock()
	c.current[name] = []string{secretOf(name)}
	c.mu.Unlock()
}

// check sends a request for every credential that must be there. The destination tells whether the secret is one that it may be.
func (c *crew) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	scope := must(c.f.nodes[0].api.Credentials(c.f.t.Context(), "short-lived", admin.ListQuery{}))(c.f.t)
	there := map[string]bool{}
	for _, x := range scope.Items {
		there["short-lived/"+x.Name] = true
	}
	for name := range c.current {
		if strings.HasPrefix(name, "short-lived/") && !there[name] {
			delete(c.current, name) // a regenerate that was not acknowledged has happened all the same
			c.f.allow(name)
			continue
		}
		for _, n := range c.f.nodes {
			if _, err := n.until(name, "", 5*time.Second); err != nil {
				c.f.t.Error(err)
			}
		}
	}
}

// lines counts the audit lines of a change that succeeded, each once.
func (n *node) lines(t *testing.T, action string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.Home, "audit.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var e keybearer.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Action == action && e.Kind == keybearer.ChangeEvent {
			ids[e.ID] = true
		}
	}
	return len(ids)
}
