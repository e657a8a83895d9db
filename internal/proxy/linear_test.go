package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/soak"
)

// standing is all that decides about the use of one credential: the state of the sequential model, with which a history must agree.
type standing struct {
	callerOff, unbound, regenerating bool
	level                            keybearer.Level
	deleted, disabled, narrow        bool
	version                          int
}

// event is an operation of a history: a use, or a change. What concerns every credential has no credential.
type event struct {
	credential string // "": all
	as         string // of a use: how it names the credential
	change     string // "": a use
	level      keybearer.Level
	torn       bool // a use while two changes were made
}

// seen is how a use ended.
type seen struct {
	code    keybearer.Code
	version int // of the secret that it may send
}

// after is what a change makes of it.
func (s standing) after(e event) standing {
	switch e.change {
	case "disable caller":
		s.callerOff = true
	case "enable caller":
		s.callerOff = false
	case "unbind":
		s.unbound = true
	case "bind":
		s.unbound = false
	case "regenerating":
		s.regenerating = true
	case "regenerated":
		s.regenerating = false
	case "grant":
		s.level = e.level
	case "delete":
		s.deleted = true
	case "restore":
		s.deleted = false
	case "disable":
		s.disabled = true
	case "enable":
		s.disabled = false
	case "narrow":
		s.narrow = true
	case "widen": // takes the secret again
		s.narrow = false
		s.version++
	case "replace":
		s.version++
	}
	return s
}

// use is how a use ends, in the order of the contract.
func (s standing) use() seen {
	switch {
	case s.callerOff:
		return seen{code: keybearer.CallerUnauthenticated}
	case s.unbound, s.level == keybearer.NoLevel, s.deleted && s.level < keybearer.View:
		return seen{code: keybearer.CredentialForbidden}
	case s.deleted:
		return seen{code: keybearer.CredentialDeleted}
	case s.disabled:
		return seen{code: keybearer.CredentialDisabled}
	case s.regenerating:
		return seen{code: keybearer.ScopeRegenerating}
	case s.narrow:
		return seen{code: keybearer.DestinationNotAllowed}
	}
	return seen{version: s.version}
}

var useModel = porcupine.Model{
	// Each name of a credential has its own history, with the changes of the credential and those that concern all. While a change is made, and is not
	// acknowledged, one who calls the credential by its name may see it before one who calls it by its id: they are cached apart.
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		names := map[string]string{}
		for _, o := range history {
			if e := o.Input.(event); e.as != "" {
				names[e.as] = e.credential
			}
		}
		for as, credential := range names {
			var part []porcupine.Operation
			for _, o := range history {
				if e := o.Input.(event); e.as == as || e.as == "" && (e.credential == "" || e.credential == credential) {
					part = append(part, o)
				}
			}
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return standing{level: keybearer.Use, version: 1} },
	Step: func(state, input, output any) (bool, any) {
		s, e := state.(standing), input.(event)
		if e.change != "" {
			return true, s.after(e)
		}
		got := output.(seen)
		if got.code == keybearer.StoreUnavailable || got.code == keybearer.KeyringUnavailable {
			return true, s // a machine that is too busy to load anything in time refuses
		}
		if e.torn && got.code != "" {
			return true, s // the records that a refusal is made of may be of two moments; those of a use that is sent never are
		}
		return s.use() == got, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// lateStore reads records at one time and hands them out at a later one.
type lateStore struct{ keybearer.Store }

func (s lateStore) Credential(ctx context.Context, ref keybearer.Ref) (*keybearer.Credential, error) {
	c, err := s.Store.Credential(ctx, ref)
	late()
	return c, err
}

func (s lateStore) Scope(ctx context.Context, name string) (*keybearer.Scope, error) {
	c, err := s.Store.Scope(ctx, name)
	late()
	return c, err
}

func (s lateStore) CallerByToken(ctx context.Context, hash keybearer.TokenHash) (*keybearer.Caller, error) {
	c, err := s.Store.CallerByToken(ctx, hash)
	late()
	return c, err
}

// late lets up to two milliseconds pass, most often none.
func late() {
	if rand.IntN(2) == 0 {
		<-time.After(time.Duration(rand.IntN(2000)) * time.Microsecond)
	}
}

// office makes the changes, and remembers what is in force: it alone changes anything.
type office struct {
	l   *lab
	now map[string]standing
}

func (o *office) credential(e event) {
	c := must(o.l.store.Credential(context.Background(), keybearer.Ref{Scope: o.l.scope.ID, Name: e.credential})).Clone()
	was := o.now[e.credential]
	is := was.after(e)
	c.Grants = nil
	if is.level != keybearer.NoLevel {
		c.Grants = []keybearer.Grant{{Subject: keybearer.AppSubject("billing"), Level: is.level}}
	}
	c.Disabled, c.DeletedAt = is.disabled, time.Time{}
	if is.deleted {
		c.DeletedAt = time.Now()
	}
	c.Current.Terms.Rules = o.l.rules(o.l.destination.URL)
	if is.narrow {
		c.Current.Terms.Rules = o.l.rules("https://elsewhere.example.com")
	}
	if is.version != was.version {
		c.Current.Number++
		o.l.seal(c, &keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret(secretText(is.version))})
	}
	o.l.commit(keybearer.Write{Credential: c})
	o.now[e.credential] = is
}

func secretText(version int) string { return fmt.Sprintf("secret-number-%d", version) }

// world makes a change that concerns all credentials.
func (o *office) world(is standing) {
	caller := must(o.l.store.Caller(context.Background(), "billing")).Clone()
	scope := must(o.l.store.Scope(context.Background(), o.l.scope.ID)).Clone()
	caller.Disabled, caller.Scopes, scope.Work = is.callerOff, []string{o.l.scope.ID}, nil
	if is.unbound {
		caller.Scopes = nil
	}
	if is.regenerating {
		scope.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRegenerate}
	}
	o.l.commit(keybearer.Write{Caller: caller}, keybearer.Write{Scope: scope})
}

// history has clients use credentials of a new lab while others change them, and returns what happened when.
func history(t *testing.T, size int) []porcupine.Operation {
	k := &gatedKeyring{}
	l := newLab(t, gated(k), func(_ *lab, c *Config) { c.Store = lateStore{c.Store} })
	k.set(func() error { late(); return nil })
	names := []string{"crm", "mail"}
	type named struct {
		event
		call *Call
	}
	var targets []named
	for _, name := range names {
		c := l.credential(name, l.bearer(), secretText(1))
		for _, ref := range []string{"docs/" + name, l.scope.ID + "/" + c.ID} {
			targets = append(targets, named{event{credential: name, as: ref}, &Call{Method: "GET", Target: l.plain() + "/", Route: &Route{}, Fields: []Field{
				{"Keybearer-Credential", ref}, {"Proxy-Authorization", "Bearer " + l.token},
			}}})
		}
	}
	began := time.Now()
	var mu sync.Mutex
	var all []porcupine.Operation
	perform := func(client int, e event, do func() any) {
		o := porcupine.Operation{ClientId: client, Input: e, Call: int64(time.Since(began))}
		o.Output = do()
		o.Return = int64(time.Since(began))
		mu.Lock()
		defer mu.Unlock()
		all = append(all, o)
	}
	// Each change lets so many uses begin, so that however slow the machine is there are many of both.
	const each = 6
	uses := make(chan struct{}, size)
	var changes atomic.Int64
	changes.Store(int64(size / (1 + each)))
	more := func() bool {
		for range each {
			uses <- struct{}{}
		}
		return changes.Add(-1) >= 0
	}
	var clients, operators sync.WaitGroup
	for client := range 6 {
		clients.Go(func() {
			for range uses {
				of := targets[rand.IntN(len(targets))]
				perform(client, of.event, func() any { return l.use(of.call) })
			}
		})
	}
	for i, name := range names {
		operators.Go(func() {
			o := &office{l: l, now: map[string]standing{name: {level: keybearer.Use, version: 1}}}
			for more() {
				e := event{credential: name, change: drawChange(o.now[name])}
				if e.change == "grant" {
					e.level = keybearer.Level(rand.IntN(3))
				}
				perform(6+i, e, func() any { o.credential(e); return nil })
			}
		})
	}
	operators.Go(func() {
		o, pairs := &office{l: l}, [][2]string{{"disable caller", "enable caller"}, {"unbind", "bind"}, {"regenerating", "regenerated"}}
		for more() { // what has everything refused is taken back at once
			<-time.After(10 * time.Millisecond)
			pair := pairs[rand.IntN(len(pairs))]
			for _, change := range pair {
				e := event{change: change}
				perform(8, e, func() any { o.world(standing{}.after(e)); return nil })
			}
		}
	})
	operators.Wait()
	close(uses)
	clients.Wait()
	for i := range all {
		e, beside := all[i].Input.(event), 0
		for _, o := range all {
			if c := o.Input.(event); c.change != "" && (c.credential == "" || c.credential == e.credential) && o.Call <= all[i].Return && all[i].Call <= o.Return {
				beside++
			}
		}
		e.torn = e.change == "" && beside > 1
		all[i].Input = e
	}
	return all
}

// drawChange draws one that changes something, and most often brings back what would have every use refused.
func drawChange(s standing) string {
	switch {
	case rand.IntN(4) == 0:
	case s.deleted:
		return "restore"
	case s.disabled:
		return "enable"
	case s.narrow:
		return "widen"
	case s.level == keybearer.NoLevel:
		return "grant"
	}
	return []string{"grant", "replace", "replace", "delete", "disable", "narrow"}[rand.IntN(6)]
}

// use asks the gate.
func (l *lab) use(c *Call) seen {
	p, err := l.proxy.gate.Admit(context.Background(), c)
	if err != nil {
		return seen{code: err.Code}
	}
	defer p.Finish(Result{Status: 200})
	var version int
	if _, err := fmt.Sscanf(strings.TrimPrefix(p.Field.Value.Reveal(), "Bearer "), "secret-number-%d", &version); err != nil {
		panic(err)
	}
	return seen{version: version}
}

// While clients use credentials, operators grant, revoke, disable, delete, restore, narrow and replace, records and secrets being handed out late.
// Every history can be put in one order that keeps to real time: a use that began after a revoke was acknowledged is refused, and a use sees the
// secret that is current.
func TestSoakRaceOfUseAndRevokeIsLinearizable(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() { // what a disk does is the store's own test
		was := os.Getenv("TMPDIR")
		_ = os.Setenv("TMPDIR", "/dev/shm") // t.Setenv does not go with t.Parallel
		t.Cleanup(func() { _ = os.Setenv("TMPDIR", was) })
	}
	histories, size := soak.Size(t, 2, 200), 1000
	if soak.Long(t) {
		size = 5000
	}
	began, uses, changes := time.Now(), map[keybearer.Code]int{}, 0
	var mu sync.Mutex
	t.Run("histories", func(t *testing.T) {
		for i := range histories {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				all := history(t, size)
				result, info := porcupine.CheckOperationsVerbose(useModel, all, 5*time.Minute)
				if result != porcupine.Ok {
					page := filepath.Join(os.TempDir(), fmt.Sprintf("keybearer-history-%d-%d.html", os.Getpid(), i))
					if err := porcupine.VisualizePath(useModel, info, page); err != nil {
						t.Error(err)
					}
					t.Fatalf("%v: the history of %d operations is in %s", result, len(all), page)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, o := range all {
					if out, ok := o.Output.(seen); ok {
						uses[out.code]++
					} else {
						changes++
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, code := range []keybearer.Code{"", keybearer.CredentialForbidden, keybearer.CredentialDisabled, keybearer.DestinationNotAllowed} {
		if uses[code] == 0 {
			t.Errorf("no use ended with %q: %v", code, uses)
		}
	}
	t.Logf("uses %v, %d changes", uses, changes)
	refused := -uses[""]
	for _, n := range uses {
		refused += n
	}
	soak.Record(t, "use against revoke, disable, delete, narrow and replace is linearizable (`porcupine`, under the race detector)",
		fmt.Sprintf("%d histories of %s operations, %s of them changes", histories, soak.Count(size), soak.Count(changes)),
		fmt.Sprintf("all linearizable: %s uses sent, %s refused, %d of them since the machine was too busy; %v", soak.Count(uses[""]), soak.Count(refused),
			uses[keybearer.StoreUnavailable]+uses[keybearer.KeyringUnavailable], time.Since(began).Round(time.Second)))
}
