package fleet

import (
	"fmt"
	"sync"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// TestOfTwoNodesThatChangeOneCredentialOneWins: who read the same revision as the winner is told so, and nothing is lost.
func TestOfTwoNodesThatChangeOneCredentialOneWins(t *testing.T) {
	const rounds = 100
	f := newFleet(t, plan{nodes: 2})
	f.billing(1)
	ref := keybearer.Ref{Scope: "docs", Name: "c0"}
	for i := range rounds {
		now := must(f.nodes[i%2].api.Credential(t.Context(), ref))(t)
		ctx := admin.IfRevision(t.Context(), now.Revision)
		var all sync.WaitGroup
		errs, after := make([]error, 2), make([]admin.Credential, 2)
		for j, n := range f.nodes {
			all.Go(func() {
				after[j], errs[j] = n.api.EditCredential(ctx, ref, admin.CredentialPatch{Description: new(fmt.Sprintf("round %d of %s", i, n.name))})
			})
		}
		all.Wait()
		won := 0
		for j, err := range errs {
			switch keybearer.CodeOf(err) {
			case "":
				won++
				if seen := must(f.nodes[1-j].api.Credential(t.Context(), ref))(t); seen.Description != after[j].Description || seen.Revision != after[j].Revision {
					t.Errorf("round %d: the other node shows %q at %d after %q at %d", i, seen.Description, seen.Revision, after[j].Description, after[j].Revision)
				}
			case keybearer.Stale:
			default:
				t.Errorf("round %d: %v", i, err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d won: %v", i, won, errs)
		}
	}

	// Without a revision both hold, in whatever order.
	var all sync.WaitGroup
	for _, n := range f.nodes {
		all.Go(func() {
			for i := range rounds {
				if _, err := n.api.SetGrant(t.Context(), ref, keybearer.Subject(fmt.Sprintf("user:%s-%d", n.name, i)), keybearer.View); err != nil {
					t.Errorf("%s: grant %d: %v", n.name, i, err)
				}
			}
		})
	}
	all.Wait()
	grants := must(f.nodes[0].api.Grants(t.Context(), ref))(t)
	if want := 2*rounds + 2; len(grants.Items) != want { // and those of billing and of who made it
		t.Errorf("%d grants, want %d: some were lost", len(grants.Items), want)
	}
	report(t, "two nodes that change one credential at once", fmt.Sprintf("%d races, one winner each; %d grants from both sides, none lost", rounds, 2*rounds))
}
