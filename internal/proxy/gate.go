package proxy

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/fence"
	"github.com/keybearer/keybearer/internal/metrics"
	"github.com/keybearer/keybearer/policy"
)

// Gate decides. It is safe for concurrent use.
type Gate struct {
	identities []keybearer.Identity
	foreign    recognize             // of the identities
	users      keybearer.ActingUsers // nil: there is no issuer that could assert one
	spender    keybearer.Spender     // nil: nothing remembers which assertions were used
	snapshots  *snapshots
	auditor    keybearer.Auditor
	dialer     *dial.Dialer
	now        func() time.Time
	logger     *slog.Logger
	sampled    *rate.Limiter // audit lines for senders that proved nothing
	live       live
	limits     limits
	current    func() time.Time // of a store that others change too; nil: it tells of each change
	trusted    func() error     // whether the records may be relied on
	stop       func()
	meter      *metrics.Meter

	// epoch grows with every change of a record, before the change is acknowledged and after the caches have dropped what they
	// knew. A decision holds while it stands still.
	epoch atomic.Uint64
}

// newGate wires a gate; c has its defaults filled in.
func newGate(c *Config) *Gate {
	g := &Gate{
		identities: c.Identities, users: c.Users, auditor: c.Auditor, dialer: c.Dialer, now: c.Now, logger: c.Logger, meter: c.Meter,
		sampled: rate.NewLimiter(20, 100), limits: newLimits(c.Limits, c.DestinationConcurrency),
		live: live{uses: map[*use]struct{}{}, wake: make(chan struct{}, 1)},
		snapshots: &snapshots{
			store: c.Store, keyring: c.Keyring, now: c.Now, ttl: c.SecretTTL, stale: c.KeyringMaxStale, safes: map[string]*safe{}, meter: c.Meter,
			scopes: fence.New[string, *keybearer.Scope](fence.ForStore(c.Store, maxSnapshots, c.StoreMaxStale, c.Now)),
			rows:   fence.New[keybearer.Ref, row](fence.ForStore(c.Store, maxSnapshots, c.StoreMaxStale, c.Now)),
		},
	}
	g.snapshots.readScope, g.snapshots.readRow = g.snapshots.loadScope, g.snapshots.loadRow
	if g.trusted = c.Trusted; g.trusted == nil {
		g.trusted = func() error { return nil }
	}
	if f, ok := c.Store.(keybearer.Follower); ok {
		g.current = f.Current
	}
	g.spender, _ = c.Store.(keybearer.Spender)
	for _, i := range c.Identities {
		if r, ok := i.(keybearer.Recognizer); ok {
			g.foreign = append(g.foreign, r)
		}
	}
	if r, ok := c.Users.(keybearer.Recognizer); ok {
		g.foreign = append(g.foreign, r) // wherever an app puts an assertion, it goes to nobody else
	}
	g.stop = c.Store.Watch(func(changes []keybearer.Change) {
		g.snapshots.changed(changes)
		g.epoch.Add(1)
		g.live.changed()
	})
	return g
}

// Retries when records change between the decision and the opening of the secret.
const maxRetries = 16

// Admit decides one request, in the order: caller, canonical destination, credential, grant, state, rule, resolved addresses,
// limits, audit intent, secret. When it returns a Pass the intent is in the audit log and the engine must call Finish
// exactly once. When it returns an error the refusal has been recorded, no secret was opened for it and nothing was
// dialled; render it with [Refuse]. Why a credential is forbidden cannot be told from the time that it takes.
func (g *Gate) Admit(ctx context.Context, c *Call) (*Pass, *keybearer.Error) {
	p := g.newPass(ctx, c)
	admitted := false
	defer func() {
		if !admitted {
			p.place.leave()
		}
	}()
	err := g.admit(ctx, c, p)
	if err == nil {
		admitted = true
		return p, nil
	}
	if p.intended {
		p.finish(keybearer.Refuse, Result{Err: err})
	} else {
		g.refused(p, err)
	}
	even(ctx, p.times.began, err)
	return p, err
}

func (g *Gate) newPass(ctx context.Context, c *Call) *Pass {
	p := &Pass{gate: g, Started: g.now()}
	p.times.began, p.times.span = time.Now(), recording(ctx)
	p.event = keybearer.Event{Time: p.Started, ID: keybearer.NewID(keybearer.IDRequest), Method: c.Method, Operator: c.Route.Operator}
	return p
}

func (g *Gate) admit(ctx context.Context, c *Call, p *Pass) *keybearer.Error {
	t, err := c.read(g.foreign)
	if err != nil {
		return err
	}
	if !keybearer.ForwardableMethod(c.Method) {
		return keybearer.NewError(keybearer.BadRequest, "the method is not one that Keybearer forwards").
			WithHint("use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")
	}
	p.asks.evidence = c.evidence(t.tokens, p.Started)
	epoch := g.epoch.Load()
	caller, err := g.identify(ctx, &p.asks.evidence)
	if err != nil {
		return err
	}
	p.event.Caller, p.event.TokenID = caller.Name, presented(caller, t.tokens)
	if p.asks.target, err = c.target(&t); err != nil {
		return err
	}
	target := &p.asks.target
	p.event.Host, p.event.Port, p.event.Scheme, p.event.Path = target.Host, target.Port, target.Scheme, target.Path
	if t.credential == "" {
		return keybearer.NewError(keybearer.TagMissing, "the request names no credential").
			WithHint("set Keybearer-Credential: <scope>/<name>")
	}
	ref, perr := keybearer.ParseRef(t.credential)
	if perr != nil {
		return tagError("the credential is not named as <scope>/<name>")
	}
	p.event.Scope, p.event.Credential = ref.Scope, ref.Name
	p.asks.ref, p.asks.method, p.asks.handshake = ref, c.Method, c.handshake()
	if t.actingUser != "" {
		if err := g.prove(ctx, &p.asks, t.actingUser, caller); err != nil {
			return err
		}
	}
	if p.asks.user != nil {
		p.event.ActingUser = p.asks.user.ID
	}
	p.prepare(c)
	return g.settle(ctx, p, caller, epoch)
}

// settle judges until nothing changed meanwhile: so what the pass holds was true at one moment after it was asked for.
func (g *Gate) settle(ctx context.Context, p *Pass, caller *keybearer.Caller, epoch uint64) *keybearer.Error {
	for range maxRetries {
		p.judged = g.now()
		err := g.judge(ctx, p, caller)
		p.epoch = g.epoch.Load()
		// A secret that did not open may have been sealed anew meanwhile, with another key.
		if p.epoch == epoch || err != nil && err.Code != keybearer.KeyringUnavailable && err.Code != keybearer.CredentialNeedsSecret {
			return err
		}
		epoch = p.epoch
		if caller, err = g.identify(ctx, &p.asks.evidence); err != nil {
			return err
		}
		p.event.TokenID = presented(caller, p.asks.evidence.Tokens)
	}
	return keybearer.NewError(keybearer.StoreUnavailable, "the records keep changing")
}

// judge decides on one snapshot and opens its secret.
func (g *Gate) judge(ctx context.Context, p *Pass, caller *keybearer.Caller) *keybearer.Error {
	snap, err := g.snapshots.get(ctx, p.asks.ref, rereads)
	if err != nil {
		return err
	}
	d := p.asks.decide(g.now(), caller, &snap, policy.Unresolved)
	p.record(&snap, &d)
	if err := p.asks.refusal(&d); err != nil {
		return err
	}
	addresses, rerr := g.dialer.Resolve(ctx, d.Destination)
	if rerr != nil {
		return keybearer.AsError(rerr)
	}
	d = p.asks.decide(g.now(), caller, &snap, addresses.Reach)
	p.record(&snap, &d)
	if err := p.asks.refusal(&d); err != nil {
		return err
	}
	wish, err := p.asks.wish(&snap.Credential.Current.Terms)
	if err != nil {
		return err
	}
	p.try(&snap, &d, addresses.Reach)
	if err := g.limits.enter(&p.place, caller, snap.Scope.ID, &d.Destination, g.now()); err != nil {
		return err
	}
	if err := g.spend(ctx, p); err != nil {
		return err
	}
	if err := g.intend(ctx, p); err != nil {
		return err
	}
	asked := time.Now()
	o, err := snap.safe.open(ctx)
	p.times.open.add(asked)
	if err != nil {
		return err
	}
	// The terms that were sealed with the secret have the last word.
	sealed := policy.Admit(o.terms, &p.asks.target, p.asks.method, addresses.Reach)
	switch {
	case o.terms.RequireUser && p.asks.user == nil:
		return keybearer.NewError(keybearer.UserRequired, "")
	case !sealed.Allowed() || sealed.Destination != d.Destination:
		return keybearer.NewError(keybearer.DestinationNotAllowed, "the secret was not given for this destination")
	}
	if !o.terms.WebSocket {
		wish = nil
	}
	p.grant(&snap, o, d.Destination, addresses, d.DropOverrides() || sealed.DropOverrides())
	p.handshake, p.filter.upgrade = wish, wish != nil
	return nil
}

// asks is what a request wants and what proves its caller: all that is needed to judge it again. It is immutable once the
// request has been read.
type asks struct {
	evidence  keybearer.Evidence
	ref       keybearer.Ref
	target    policy.Target
	method    string
	handshake *handshake       // of a WebSocket; nil: it is to be none
	user      *keybearer.User  // on whose behalf; nil: nobody's
	bogus     *keybearer.Error // why the assertion of a user does not hold; nil: it does, or there is none
}

func (a *asks) decide(now time.Time, caller *keybearer.Caller, snap *snapshot, reach policy.Reach) policy.Decision {
	r := policy.Request{Target: &a.target, Method: a.method, Caller: caller, Now: now, Bogus: a.bogus != nil}
	if a.user != nil {
		r.User, r.Groups = a.user.ID, a.user.Groups
	}
	return policy.Decide(&r, snap.Snapshot, reach)
}

// refusal returns the error of a decision that refuses.
func (a *asks) refusal(d *policy.Decision) *keybearer.Error {
	if d.Code == keybearer.UserRequired && a.bogus != nil {
		return a.bogus
	}
	return keybearer.AsError(d.Err())
}

// identify asks every identity. Proofs of two callers, or a wrong one beside a right one, are refused.
func (g *Gate) identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, *keybearer.Error) {
	if err := g.trusted(); err != nil { // before anything is said of the caller: it may have been revoked
		return nil, keybearer.NewError(keybearer.StoreUnavailable, "the store is older than what was acknowledged").Wrap(err)
	}
	var proven *keybearer.Caller
	for _, identity := range g.identities {
		caller, err := identity.Identify(ctx, e)
		if err != nil {
			return nil, keybearer.AsError(err)
		}
		if caller == nil {
			continue
		}
		if proven != nil && proven.ID != caller.ID {
			return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "the request proves two different callers")
		}
		proven = caller
	}
	if proven == nil || !proven.Live() {
		return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "the request carries no proof of its caller")
	}
	return proven, nil
}

// presented returns the id of the caller's token that is among the texts; "" when it proved itself in another way.
func presented(c *keybearer.Caller, texts []string) string {
	for _, text := range texts {
		if !strings.HasPrefix(text, keybearer.CallerTokenPrefix) {
			continue
		}
		hash := keybearer.HashToken(text)
		for i := range c.Tokens {
			if c.Tokens[i].Hash == hash {
				return c.Tokens[i].ID
			}
		}
	}
	return ""
}

// prove judges the assertion of an acting user. One that does not hold is a refusal only once the caller's own grant has been judged, so that it
// tells strangers nothing.
func (g *Gate) prove(ctx context.Context, a *asks, assertion string, caller *keybearer.Caller) *keybearer.Error {
	switch {
	case g.users == nil:
		a.bogus = keybearer.NewError(keybearer.UserRequired, "the acting user's assertion cannot be verified: no issuer is configured")
		return nil
	case g.spender == nil:
		a.bogus = keybearer.NewError(keybearer.UserRequired, "the acting user's assertion cannot be accepted: this store does not remember which were used")
		return nil
	}
	user, err := g.users.Prove(ctx, assertion, caller, a.evidence.At)
	switch {
	case keybearer.CodeOf(err) == keybearer.UserRequired:
		a.bogus = keybearer.AsError(err)
	case err != nil:
		return keybearer.AsError(err)
	case user == nil || user.ID == "":
		a.bogus = keybearer.NewError(keybearer.UserRequired, "the assertion names nobody")
	default:
		a.user = user
	}
	return nil
}

// spend uses up the assertion of the acting user, once for the pass: it counts one time, and refusals do not consume it.
func (g *Gate) spend(ctx context.Context, p *Pass) *keybearer.Error {
	if p.asks.user == nil || p.spent {
		return nil
	}
	err := g.spender.Spend(ctx, p.asks.user.Once, p.asks.user.Until)
	switch {
	case err == nil:
		p.spent = true
		return nil
	case keybearer.CodeOf(err) == keybearer.AlreadyExists:
		return keybearer.NewError(keybearer.UserRequired, "the acting user's assertion was used before").
			WithHint("make a new one, with a jti of its own, for every request")
	case ctx.Err() != nil:
		return &keybearer.Error{Code: keybearer.CallerGone, Op: "spend assertion", Err: err}
	}
	return &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "spend assertion", Err: err}
}

// intend records what is about to be done, and again if a second judgement found something else.
func (g *Gate) intend(ctx context.Context, p *Pass) *keybearer.Error {
	e := &p.event
	now := intent{e.CredentialID, e.SecretVersion, e.Rule, e.Scheme, e.Host, e.Port}
	if p.intended && p.intent == now {
		return nil
	}
	e.Phase, e.Kind, e.Decision = keybearer.Intent, keybearer.UseEvent, keybearer.Allow
	if err := g.auditor.Record(ctx, e); err != nil {
		if ctx.Err() != nil {
			return &keybearer.Error{Code: keybearer.CallerGone, Op: "record intent", Err: err}
		}
		return &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "record intent", Err: err}
	}
	p.intended, p.intent = true, now
	p.times.decide.once(p.times.began)
	return nil
}

// refused records a refusal. Senders that proved nothing decide nothing about how much is written.
func (g *Gate) refused(p *Pass, err *keybearer.Error) {
	e := &p.event
	e.Phase, e.Kind, e.Decision, e.Code = keybearer.Outcome, keybearer.RefusalEvent, keybearer.Refuse, err.Code
	e.Time = g.now()
	e.DurationMS = milliseconds(e.Time.Sub(p.Started))
	p.times.decide.once(p.times.began)
	p.measure()
	if e.Caller == "" || err.Code == keybearer.RateLimited {
		if g.sampled.AllowN(e.Time, 1) {
			g.auditor.Offer(e)
		}
		return
	}
	g.auditor.Post(e)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
