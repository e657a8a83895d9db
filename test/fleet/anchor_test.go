package fleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// TestARestoredPostgresRevivesNoRevokedGrant: PostgreSQL is restored from before a revocation, under three running servers. None of them sends a
// request by it, acknowledges a change or starts, until its operator has accepted the loss; each has an anchor of its own.
func TestARestoredPostgresRevivesNoRevokedGrant(t *testing.T) {
	f := newFleet(t, plan{})
	f.billing(2)
	f.ready("docs/c0")
	f.ready("docs/c1")
	ctx := t.Context()
	ref := keybearer.Ref{Scope: "docs", Name: "c0"}
	dump := f.pg.Dump(t, f.dsn)
	must(f.nodes[0].api.RemoveGrant(ctx, ref, "app:billing"))(t)
	must(f.nodes[1].api.CreateScope(ctx, admin.NewScope{Name: "later"}))(t)
	for _, n := range f.nodes {
		if _, err := n.until("docs/c0", keybearer.CredentialForbidden, holdsWithin); err != nil {
			t.Fatal(err)
		}
	}
	f.anchored(func(line string) bool { return !strings.Contains(line, "ends with") })

	f.allow("docs/c0") // from now on it must never arrive
	f.pg.Restore(t, f.dsn, dump)
	for _, n := range f.nodes {
		if _, err := n.until("docs/c1", keybearer.StoreUnavailable, 10*time.Second); err != nil {
			t.Error(err)
		}
		for _, c := range []string{"docs/c0", "docs/c1", "docs/nothing"} {
			n.serves(c, keybearer.StoreUnavailable)
		}
		if _, err := n.api.CreateScope(ctx, admin.NewScope{Name: "denied-" + n.name}); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Errorf("%s acknowledges a change: %v", n.name, err)
		}
		if r := n.CLI(t, "", "doctor"); r.Code == 0 || !strings.Contains(r.Stdout, "the store is older than what this server has seen") {
			t.Errorf("%s: doctor: exit code %d\n%s%s", n.name, r.Code, r.Stdout, r.Stderr)
		}
	}
	third := f.nodes[2]
	third.Stop(t)
	if err := third.TryStart(t); err == nil || third.ExitCode() != 1 || !strings.Contains(third.Output(t), "keybearer anchor accept") {
		t.Errorf("%s started: %v\n%s", third.name, err, third.Output(t))
	}
	f.anchored(func(line string) bool { return strings.Contains(line, "ends with") })

	for i, n := range f.nodes {
		r := n.CLI(t, "", "anchor", "accept", "--config", n.Config, "--adapter", "caddyfile")
		if r.Code != 0 || !strings.Contains(r.Stderr, "revoke again") {
			t.Fatalf("%s: anchor accept: exit code %d, %s%s", n.name, r.Code, r.Stdout, r.Stderr)
		}
		if n == third {
			if err := n.TryStart(t); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.until("docs/c1", "", 10*time.Second); err != nil {
			t.Error(err)
		}
		if i == 0 { // at once, on the first that serves again
			must(n.api.RemoveGrant(ctx, ref, "app:billing"))(t)
		}
		if _, err := n.until("docs/c0", keybearer.CredentialForbidden, holdsWithin); err != nil {
			t.Error(err)
		}
	}
}

// anchored waits until the one line that each server's anchor show gives is right.
func (f *fleet) anchored(right func(line string) bool) {
	f.t.Helper()
	for _, n := range f.nodes {
		harness.Await(f.t, n.name+": anchor", 10*time.Second, func() error {
			r := n.CLI(f.t, "", "anchor", "show", "--config", n.Config, "--adapter", "caddyfile")
			if r.Code != 0 || !strings.Contains(r.Stdout, "postgres") || !right(r.Stdout) {
				return fmt.Errorf("exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
}
