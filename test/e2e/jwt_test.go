package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

const (
	callersAudience = "keybearer"
	usersAudience   = "keybearer-acting-user"
)

// signed returns a JWT that Node's jose makes: not the library that Keybearer reads it with, nor the one that made the keys.
func signed(t *testing.T, k *harness.IssuerKey, claims map[string]any) string {
	t.Helper()
	job, err := json.Marshal([]any{map[string]any{"alg": k.Alg, "key": k.PEM(t), "header": map[string]any{"kid": k.ID}, "claims": claims}})
	if err != nil {
		t.Fatal(err)
	}
	r := harness.Run(t, harness.Command{Path: "node", Args: []string{filepath.Join(harness.Repository(), "test/e2e/node/sign.mjs")}}, string(job))
	if r.Code != 0 || strings.Count(r.Stdout, "\n") != 1 {
		t.Fatalf("sign: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// claim returns claims that hold now, with these changed.
func claim(issuer string, changes map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{"iss": issuer, "aud": callersAudience, "sub": "shop-app", "iat": now.Unix(), "exp": now.Add(4 * time.Minute).Unix()}
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}
