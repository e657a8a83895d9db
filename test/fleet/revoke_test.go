package fleet

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// holdsWithin is how long after its acknowledgement a change may take to hold on every other node.
const holdsWithin = 2 * time.Second

// TestAFleetServesWhatOneNodeWasTold: made on the first, used on all, without anybody asking again.
func TestAFleetServesWhatOneNodeWasTold(t *testing.T) {
	f := newFleet(t, plan{})
	f.billing(1)
	for _, n := range f.nodes {
		if took, err := n.until("docs/c0", "", holdsWithin); err != nil {
			t.Error(err)
		} else {
			t.Logf("%s serves after %v", n.name, took)
		}
	}
}

// TestARevocationHoldsEverywhereWithinTwoSeconds: a thousand changes, made on one node after the other and looked for on the two others.
func TestARevocationHoldsEverywhereWithinTwoSeconds(t *testing.T) {
	const changes = 1000
	f := newFleet(t, plan{})
	f.billing(4)
	for _, c := range []string{"docs/c0", "docs/c1", "docs/c2", "docs/c3"} {
		f.ready(c)
	}
	revocations := []struct {
		name       string
		credential keybearer.Ref
		code       keybearer.Code
		take, give func(context.Context, *admin.Client, keybearer.Ref) (admin.Credential, error)
	}{
		{
			"grant removed",
			keybearer.Ref{Scope: "docs", Name: "c0"},
			keybearer.CredentialForbidden,
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.RemoveGrant(ctx, r, "app:billing")
			},
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.SetGrant(ctx, r, "app:billing", keybearer.Use)
			},
		},
		{
			"disabled",
			keybearer.Ref{Scope: "docs", Name: "c1"},
			keybearer.CredentialDisabled,
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.DisableCredential(ctx, r)
			},
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.EnableCredential(ctx, r)
			},
		},
		{
			"deleted",
			keybearer.Ref{Scope: "docs", Name: "c2"},
			keybearer.CredentialForbidden,
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.DeleteCredential(ctx, r, true)
			},
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.RestoreCredential(ctx, r)
			},
		},
		{
			"rule removed",
			keybearer.Ref{Scope: "docs", Name: "c3"},
			keybearer.DestinationNotAllowed,
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.RemoveDestination(ctx, r, host)
			},
			func(ctx context.Context, c *admin.Client, r keybearer.Ref) (admin.Credential, error) {
				return c.AddDestinations(ctx, r, admin.DestinationChange{
					Destinations: []admin.Destination{{Rule: host, Private: true}},
					SecretInput:  admin.SecretInput{Secret: admin.NewPlaintext(secretOf(r.String()))},
				})
			},
		},
	}
	var seen samples
	for i := range changes {
		r := &revocations[i%len(revocations)]
		on := f.nodes[i/len(revocations)%len(f.nodes)]
		if r.name == "rule removed" && on == f.nodes[2] {
			on = f.nodes[0] // to give the rule back takes sealing, which the third cannot do
		}
		must(r.take(t.Context(), on.api, r.credential))(t)
		on.serves(r.credential.String(), r.code) // on the node that acknowledged it: at once
		var all sync.WaitGroup
		for _, n := range f.nodes {
			all.Go(func() {
				took, err := n.until(r.credential.String(), r.code, 10*time.Second)
				if err != nil || took > holdsWithin {
					t.Errorf("%s on %s: held after %v on %s, %v", r.name, on.name, took, n.name, err)
				}
				f.mu.Lock()
				seen = append(seen, sample{answer: answer{took: took}})
				f.mu.Unlock()
			})
		}
		all.Wait()
		for _, n := range f.nodes { // and it stays so
			n.serves(r.credential.String(), r.code)
		}
		must(r.give(t.Context(), on.api, r.credential))(t)
		f.ready(r.credential.String())
	}
	report(t, "a revocation, on the other nodes of three", fmt.Sprintf("%d changes: held after %v (median), %v (99 %%), %v (the slowest)",
		changes, millis(seen.quantile(0.5)), millis(seen.quantile(0.99)), millis(seen.slowest())))
}
