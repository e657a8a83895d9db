package proxy

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/soak"
)

// forbidden are the reasons for which a caller is told nothing but that it is forbidden, and what it asks for then.
func forbidden(l *lab) (names []string, ask map[string]func(i int) string) {
	others := func(c *keybearer.Credential, _ *keybearer.Bundle) {
		c.Grants = nil
		for i := range 20 {
			c.Grants = append(c.Grants, keybearer.Grant{Subject: keybearer.AppSubject(fmt.Sprintf("other-%d", i)), Level: keybearer.Use})
		}
	}
	l.credential("granted-to-others", l.bearer(), "s3cret-token", others)
	l.credential("gone", l.bearer(), "s3cret-token", others, func(c *keybearer.Credential, _ *keybearer.Bundle) { c.DeletedAt = time.Now() })
	mine := l.scope
	l.scope = l.newScope("hr")
	l.credential("in-other-scope", l.bearer(), "s3cret-token")
	l.scope = mine
	same := func(ref string) func(int) string { return func(int) string { return ref } }
	ask = map[string]func(int) string{
		"unknown":                  same("docs/unknown-to-all"),
		"unknown and never asked":  func(i int) string { return fmt.Sprintf("docs/unknown-%07d", i) },
		"unknown scope":            same("no/unknown-to-all"),
		"of another scope":         same("hr/in-other-scope"),
		"unknown in another scope": same("hr/unknown-to-all"),
		"existing without use":     same("docs/granted-to-others"),
		"deleted":                  same("docs/gone"),
	}
	for name := range ask {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, ask
}

// Why a caller is forbidden to use a credential cannot be told from the time that it takes to say so: between any two reasons Welch's t stays
// below 4.5, which is what chance does once in 100,000 times.
func TestSoakTimingOfForbidden(t *testing.T) {
	l := newLab(t)
	names, ask := forbidden(l)
	samples := soak.Size(t, 100, 200_000)
	want := fmt.Appendf(nil, "%+v", Refuse(&Call{}, "req", keybearer.NewError(keybearer.CredentialForbidden, "")))
	took := map[string][]float64{}
	var mu sync.Mutex
	var clients sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		clients.Go(func() {
			for i := int(next.Add(1)); i <= samples; i = int(next.Add(1)) {
				for _, at := range rand.Perm(len(names)) {
					name := names[at]
					call := &Call{Method: "GET", Target: "/", Host: "127.0.0.1", Route: &Route{}, Fields: []Field{
						{"Keybearer-Credential", ask[name](i)}, {"Keybearer-Destination", l.destination.URL}, {"Proxy-Authorization", "Bearer " + l.token},
					}}
					began := time.Now()
					_, err := l.proxy.gate.Admit(context.Background(), call)
					d := time.Since(began)
					if got := fmt.Appendf(nil, "%+v", Refuse(call, "req", err)); !bytes.Equal(got, want) {
						t.Errorf("%s is answered\n%s\nnot\n%s", name, got, want)
						return
					}
					if d < forbidTime {
						t.Errorf("%s is answered after %v", name, d)
						return
					}
					mu.Lock()
					took[name] = append(took[name], float64(d))
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		return
	}
	worst, which, lines := soak.Apart(took)
	for _, line := range lines {
		t.Log(line)
	}
	if soak.Long(t) && worst >= 4.5 {
		t.Errorf("t = %.1f: %s", worst, which)
	}
	soak.Record(t, "the time that the gate takes to forbid, for "+soak.Count(len(names))+" reasons", soak.Count(samples)+" samples of each",
		fmt.Sprintf("greatest Welch's t %.1f, of 4.5 allowed (%s)", worst, which))
}
