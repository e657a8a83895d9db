package fleet

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// The same assertion of an acting user, sent to all nodes at the same moment, is good for one request.
func TestAnAssertionCountsOnceInAFleet(t *testing.T) {
	const issuer, audience = "https://idp.example.com", "keybearer-acting-user"
	key := harness.NewKey(t, "a", "ES256")
	file := harness.WriteFile(t, filepath.Join(harness.Dir(t), "jwks.json"), harness.JWKS(key))
	f := newFleet(t, plan{nodes: 2, options: []string{strings.Join([]string{
		"acting_user {", "issuer " + issuer, "jwks_file " + file, "audience " + audience, "callers app:billing", "}",
	}, "\n")}})
	f.billing(1)
	ref := keybearer.Ref{Scope: "docs", Name: "c0"}
	if _, err := f.nodes[0].api.SetGrant(t.Context(), ref, "user:ann", keybearer.Use); err != nil {
		t.Fatal(err)
	}
	f.ready("docs/c0")
	for round := range 20 {
		now := time.Now()
		assertion := key.Sign(t, nil, map[string]any{
			"iss": issuer, "aud": audience, "sub": "ann", "azp": "app:billing", "jti": fmt.Sprint(round), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		})
		answers := make([]answer, 6)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = f.nodes[i%2].try(t.Context(), "docs/c0", "Keybearer-Acting-User", assertion) })
		}
		wg.Wait()
		allowed := 0
		for _, a := range answers {
			switch a.code {
			case "":
				allowed++
			case string(keybearer.UserRequired):
			default:
				t.Errorf("round %d: %q", round, a.code)
			}
		}
		if allowed != 1 {
			t.Errorf("round %d: the assertion was good for %d requests", round, allowed)
		}
	}
}
