package vaultkv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// The documented policies allow what the store does, which the other tests show, and nothing else.
func TestDocumentedPoliciesForbidTheRest(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	var bucket string
	for _, name := range h.names(t) {
		if name != "index" {
			bucket = name
		}
	}
	written := map[string]any{"data": map[string]any{"text": "x"}, "options": map[string]any{"cas": 1}}
	writes, reads := h.Login(t, h.role.AppRole), h.Login(t, h.onlyReads.AppRole)
	for _, try := range []struct {
		method, path string
		body         any
		both         bool // forbidden to both roles; else only to the one that serves
	}{
		{"PUT", "secret/data/PATH/" + bucket, written, true},
		{"DELETE", "secret/data/PATH/" + bucket, nil, true},
		{"DELETE", "secret/data/PATH/index", nil, true},
		{"DELETE", "secret/metadata/PATH/index", nil, true},
		{"GET", "secret/metadata/PATH/" + bucket, nil, true},
		{"PUT", "secret/metadata/PATH/" + bucket, map[string]any{"max_versions": 5}, true},
		{"PUT", "secret/delete/PATH/index", map[string]any{"versions": []int{1}}, true},
		{"PUT", "secret/undelete/PATH/index", map[string]any{"versions": []int{1}}, true},
		{"PUT", "secret/destroy/PATH/index", map[string]any{"versions": []int{1}}, true},
		{"GET", "secret/data/elsewhere", nil, true},
		{"PUT", "secret/data/elsewhere", written, true},
		{"PUT", "secret/data/PATH", written, true},
		{"PUT", "secret/data/PATH/a/b", written, true},
		{"LIST", "secret/metadata/", nil, true},
		{"DELETE", "secret/metadata/elsewhere", nil, true},
		{"GET", "secret/config", nil, true},
		{"PUT", "secret/config", map[string]any{"max_versions": 5}, true},
		{"DELETE", "sys/mounts/secret", nil, true},
		{"GET", "sys/policies/acl/root", nil, true},
		{"PUT", "auth/token/create", nil, true},

		{"PUT", "secret/data/PATH/index", written, false},
		{"PUT", "secret/data/PATH/new", written, false},
		{"PUT", "secret/metadata/PATH/index", map[string]any{"max_versions": 5}, false},
		{"DELETE", "secret/metadata/PATH/" + bucket, nil, false},
		{"LIST", "secret/metadata/PATH/", nil, false},
	} {
		path := strings.ReplaceAll(try.path, "PATH", h.path)
		tokens := map[string]string{"keybearer-kv-read": reads}
		if try.both {
			tokens["keybearer-kv"] = writes
		}
		for policy, token := range tokens {
			if a := h.DoAs(t, token, try.method, path, try.body); a.Status != 403 {
				t.Errorf("%s may %s %s: %d %s", policy, try.method, path, a.Status, a.Body)
			}
		}
	}
	h.complete(t)
}

// A process that may only read follows what others change, and changes nothing.
func TestProcessThatOnlyServes(t *testing.T) {
	t.Parallel()
	h := newLab(t, harness.VaultOptions{}).home(t)
	s := h.open(t, "a")
	c := h.config("b")
	c.vault.Auth = h.onlyReads.auth()
	serves := openWith(t, c)
	seq := must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	look(t, serves)
	must(serves.Caller(t.Context(), "billing"))(t)
	_, err := serves.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("mail")}}})
	if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.StoreUnavailable || !strings.Contains(e.Detail, "refuses") {
		t.Errorf("commit: %v", err)
	}
	if got := must(serves.Sequence(t.Context()))(t); got != seq {
		t.Errorf("sequence %d, want %d", got, seq)
	}
	h.complete(t)
}

// The diagnosis finds nothing wrong where nothing is, and says what is wrong where something is.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{})
	find := func(t *testing.T, s *vaultkv.Store, check, detail string, warn bool) {
		t.Helper()
		for _, f := range s.Diagnose(t.Context()) {
			if f.Check != check {
				continue
			}
			if (f.Err != nil) != (detail != "") || f.Warn != warn || !strings.Contains(f.Detail, detail) {
				t.Errorf("%s: %+v, want %q", check, f, detail)
			}
			if f.Err != nil && f.Err.Advice() == f.Err.Code.Info().Hint {
				t.Errorf("%s: it does not say how to mend it", check)
			}
			return
		}
		t.Errorf("%s was not looked at", check)
	}
	h := l.home(t)
	s := h.open(t, "a")
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("billing")}}}))(t)
	seen := func() []any {
		return []any{h.names(t), h.Must(t, "GET", mount+"/metadata/"+h.path+"/index", nil).Data(t)}
	}
	before := seen()
	for _, f := range s.Diagnose(t.Context()) {
		if f.Err != nil || f.Check == "" || f.Detail == "" {
			t.Errorf("all is well, and it says %+v", f)
		}
	}
	if diff := cmp.Diff(before, seen()); diff != "" {
		t.Errorf("the diagnosis had an effect (-before +after):\n%s", diff)
	}
	for _, check := range []string{"vault", "mount secret", "rights", "rights beyond need", "versions of the index", "leftovers", "room", "following"} {
		find(t, s, check, "", false)
	}

	policy := strings.ReplaceAll(l.policies["keybearer-kv"], "/keybearer/", "/"+h.path+"/")
	name := h.path + "keybearer-kv"
	for _, change := range []struct {
		old, new      string
		check, detail string
		warn          bool
	}{
		{`"delete"`, `"read"`, "rights", "delete on secret/metadata/" + h.path + "/", true},
		{`["create", "read"]`, `["create"]`, "rights", "read on secret/data/" + h.path + "/", false},
		{`"sys/capabilities-self"`, `"sys/nothing"`, "rights", "may not ask", true},
		{`["create", "read"]`, `["create", "read", "update"]`, "rights beyond need", "update on secret/data/" + h.path + "/", true},
		{`path "auth`, "path \"secret/config\" { capabilities = [\"update\"] }\npath \"auth", "rights beyond need", "update on secret/config", true},
	} {
		changed := strings.Replace(policy, change.old, change.new, 1)
		if changed == policy {
			t.Fatalf("the policy has no %s", change.old)
		}
		l.Policy(t, name, changed)
		find(t, s, change.check, change.detail, change.warn)
	}
	l.Policy(t, name, policy)
	find(t, s, "rights", "", false)

	l.Must(t, "PUT", mount+"/metadata/"+h.path+"/index", map[string]any{"max_versions": 7, "cas_required": true})
	find(t, s, "versions of the index", "versions", true)
	l.Must(t, "PUT", mount+"/metadata/"+h.path+"/index", map[string]any{"max_versions": 1, "cas_required": false})
	find(t, s, "versions of the index", "overwritten", true)

	// A mount that forgets: nothing is written that would be lost.
	l.Must(t, "PUT", mount+"/config", map[string]any{"delete_version_after": "1h"})
	_, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("mail")}}})
	if e := keybearer.AsError(err); !strings.Contains(e.Detail, "after a time") {
		t.Errorf("commit to a mount that forgets: %v", err)
	}
	must(s.Commit(t.Context(), keybearer.Batch{Events: []keybearer.Event{{ID: "req_1"}}}))(t) // the index alone
	find(t, s, "versions of the index", "after a time", false)
	l.Must(t, "PUT", mount+"/config", map[string]any{"delete_version_after": "0s"})
	must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Caller: newCaller("mail")}}}))(t)

	l.Seal(t)
	find(t, s, "vault", "sealed", false)
}

// What is no KV engine of version 2 is refused at once, with the way to make one.
func TestOtherMounts(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{})
	h := l.home(t)
	l.Mount(t, "old", "kv")
	l.Mount(t, "boxes", "transit")
	l.Policy(t, "all", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`)
	all := role{l.AppRole(t, "all", nil, "all")}
	for _, at := range []string{"old", "boxes", "nowhere"} {
		c := h.config("a")
		c.Mount = at
		c.vault.Auth = all.auth()
		_, err := c.open(t.Context())
		if e := keybearer.AsError(err); keybearer.CodeOf(err) != keybearer.StoreUnavailable || !strings.Contains(e.Detail+e.Hint, "kv-v2") {
			t.Errorf("%s: %v; %s", at, err, e.Advice())
		}
	}
}

// A login that is refused says nothing of the mount, nor of what the role may do.
func TestDiagnoseTellsALoginThatIsRefusedFromARightThatIsMissing(t *testing.T) {
	t.Parallel()
	l := newLab(t, harness.VaultOptions{})
	s := l.home(t).open(t, "a")
	l.Must(t, "DELETE", "sys/auth/approle", nil) // with its tokens
	harness.Await(t, "the store notices", 5*time.Second, func() error {
		for _, f := range s.Diagnose(t.Context()) {
			if f.Check == "mount secret" && f.Err != nil && strings.Contains(f.Detail, "refuses the login") {
				return nil
			}
			if f.Check == "mount secret" || f.Check == "rights" {
				return fmt.Errorf("%+v", f)
			}
		}
		return errors.New("the mount was not looked at")
	})
}
