package proxy

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/inject"
	"github.com/keybearer/keybearer/internal/scrub"
	"github.com/keybearer/keybearer/policy"
)

// A secret whose key the scope does not have is read again a few times, with its scope, and then taken for lost until something changes.
func TestHowOftenRecordsOfTwoMomentsAreRead(t *testing.T) {
	key := &keybearer.ScopeKey{Name: "k", Generation: 1, Share: make([]byte, 32)}
	for name, c := range map[string]struct {
		prepare             func(*shelf)
		scopes, credentials int // that are read
		again               int // and the second time, of the credential
	}{
		"of one moment":        {func(s *shelf) { s.scope.Key = key }, 1, 1, 0},
		"no secret":            {func(s *shelf) { s.credential.Current.Sealed = nil }, 1, 1, 0},
		"no key":               {func(*shelf) {}, 1 + rereads, 1 + rereads, 0},
		"no key for a moment":  {func(s *shelf) { s.hook = func() { s.scope.Key = key } }, 2, 2, 0},
		"no key, then changed": {func(s *shelf) { s.hook = func() { s.credential.Description += "." } }, 1 + rereads, 1 + rereads, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(nil)
				c.prepare(s.shelf)
				get := func() {
					t.Helper()
					if snap, err := s.gate.snapshots.get(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}, rereads); err != nil || snap.Credential == nil {
						t.Fatal(err)
					}
				}
				get()
				if s.shelf.scopes != c.scopes || s.shelf.credentials != c.credentials {
					t.Errorf("%d scopes and %d credentials were read", s.shelf.scopes, s.shelf.credentials)
				}
				get()
				if again := s.shelf.credentials - c.credentials; again != c.again {
					t.Errorf("%d credentials were read again", again)
				}
			})
		})
	}
}

// What is open stays so while the scope changes in other ways, and is not swept out as long as it is asked for.
func TestASafeOutlivesAChangeOfItsScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(nil)
		s.shelf.scope.Key = &keybearer.ScopeKey{Name: "k", Generation: 1, Share: make([]byte, 32)}
		get := func() snapshot {
			t.Helper()
			snap, err := s.gate.snapshots.get(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}, 0)
			if err != nil {
				t.Fatal(err)
			}
			return snap
		}
		rename := func(to string) {
			s.shelf.scope.Name = to
			s.shelf.tell([]keybearer.Change{{Kind: keybearer.ScopeRecord, ID: "sco_1"}})
		}
		first := get()
		if again := get(); again.safe != first.safe || again.Scope != first.Scope {
			t.Error("nothing has changed, and it is another")
		}
		time.Sleep(time.Minute)
		rename("manuals")
		second := get()
		if second.safe != first.safe || second.Scope.Name != "manuals" {
			t.Error("the scope is the old one, or the safe a new one")
		}
		time.Sleep(time.Minute)
		if s.gate.snapshots.sweep(time.Minute); len(s.gate.snapshots.safes) != 1 {
			t.Error("swept out a minute after it was asked for")
		}
		s.shelf.scope.Key = &keybearer.ScopeKey{Name: "l", Generation: 1, Share: make([]byte, 32)}
		rename("docs")
		if third := get(); third.safe == first.safe || third.Scope.Key.Name != "l" {
			t.Error("another key opens the same safe")
		}
	})
}

// What carries a secret to the destination is looked for in answers, too.
func TestWhatAnAnswerCouldEcho(t *testing.T) {
	for _, c := range []struct {
		kind  keybearer.Kind
		value string
		gone  bool
	}{
		{keybearer.Basic, "k3y", true},
		{keybearer.Basic, "user:k3y", true},
		{keybearer.Basic, "dXNlcjprM3k=", true},
		{keybearer.Basic, "Basic dXNlcjprM3k=", true},
		{keybearer.Basic, "user", false},
		{keybearer.Bearer, "k3y", true},
		{keybearer.Bearer, "Bearer k3y", true},
		{keybearer.Bearer, "user:k3y", false},
		{keybearer.Bearer, "dXNlcjprM3k=", false},
	} {
		b := &keybearer.Bundle{Terms: keybearer.Terms{Kind: c.kind}, Username: "user", Secret: keybearer.NewSecret("k3y")}
		if got := needles(b, must(inject.For(b))).Text(c.value); (got != c.value) != c.gone {
			t.Errorf("%v: %q became %q", c.kind, c.value, got)
		}
	}
}

// What the credential says of its requests and answers holds for the pass.
func TestWhatAPassTakesOver(t *testing.T) {
	l := newLab(t)
	expires := l.clock.now().Add(time.Hour).Truncate(time.Second)
	l.credential("crm", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) {
		c.ScrubBody, c.PassCookies, c.PassTrace, c.ExpiresAt = true, true, true, expires
	})
	l.credential("plain", l.bearer("GET"), "s3cret-token")
	for name, c := range map[string]struct {
		want    filter
		expires time.Time
	}{
		"docs/crm":   {filter{inject: "authorization", cookies: true, trace: true, scrub: true}, expires},
		"docs/plain": {filter{inject: "authorization", strict: true}, time.Time{}},
	} {
		call := l.call(name)
		call.Target += "?q"
		call.Fields = append(call.Fields, Field{"Connection", "X-Mine"})
		p, err := l.proxy.gate.Admit(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Keep("X-Mine", "a"); ok || p.Target != "/?q" || !p.expires.Equal(c.expires) {
			t.Errorf("%s: %q, until %v", name, p.Target, p.expires)
		}
		p.filter.nominated = nil
		if diff := cmp.Diff(c.want, p.filter, cmp.AllowUnexported(filter{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		p.Finish(Result{Status: 200})
	}
	synctest.Test(t, func(t *testing.T) {
		n := &notes{}
		s := newStand(nil)
		s.gate.auditor = n
		p := &Pass{gate: s.gate, Started: time.Now()}
		time.Sleep(1500 * time.Millisecond)
		p.Finish(Result{Status: 200})
		if e := n.posted[0]; e.DurationMS != 1500 || !e.Time.Equal(time.Now()) {
			t.Errorf("it took %v ms, until %v", e.DurationMS, e.Time)
		}
		p.Started = time.Now()
		time.Sleep(2500 * time.Millisecond)
		p.event.Caller = "billing"
		s.gate.refused(p, keybearer.NewError(keybearer.CredentialForbidden, ""))
		if e := n.posted[1]; e.DurationMS != 2500 || !e.Time.Equal(time.Now()) {
			t.Errorf("the refusal took %v ms, until %v", e.DurationMS, e.Time)
		}
	})
}

func TestTheRuleThatIsTold(t *testing.T) {
	rules := []keybearer.Rule{must(policy.ParseRule("https://a.example", nil, false)), must(policy.ParseRule("https://b.example", nil, false))}
	c := &keybearer.Credential{Current: keybearer.Version{Terms: keybearer.Terms{Rules: rules}}}
	s := &snapshot{Snapshot: policy.Snapshot{Credential: c}, rules: []string{"a", "b"}}
	if s.ruleText(&rules[0]) != "a" || s.ruleText(&rules[1]) != "b" || s.ruleText(&keybearer.Rule{}) != "" {
		t.Error("it is another rule's text")
	}
}

func TestOnlyWhatIsToBeScrubbedIs(t *testing.T) {
	const frame, text = "\x81\x16you sent s3cret-token.", "you sent s3cret-token."
	for _, scrubbed := range []bool{false, true} {
		p := &Pass{filter: filter{scrub: scrubbed}, needles: scrub.New(keybearer.NewSecret("s3cret-token"))}
		body := string(must(io.ReadAll(p.Body(strings.NewReader(text)))))
		frames := string(must(io.ReadAll(p.Frames(strings.NewReader(frame)))))
		if strings.Contains(body, "s3cret") == scrubbed || strings.Contains(frames, "s3cret") == scrubbed || len(body) != len(text) || len(frames) != len(frame) {
			t.Errorf("scrubbed %v: %q, %q", scrubbed, body, frames)
		}
		for name, want := range map[string]bool{"X-Any": true, "Content-Digest": !scrubbed, "X-S3cret-Token": false, "Trailer": false} {
			if got := p.comesBack(name, nil); got != want {
				t.Errorf("scrubbed %v: %s: %v", scrubbed, name, got)
			}
		}
	}
	if got := (&Pass{}).Scrub(text); got != text {
		t.Errorf("nothing was opened, and yet: %q", got)
	}
}
