package proxy

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/dial"
	"github.com/keybearer/keybearer/internal/fence"
	"github.com/keybearer/keybearer/policy"
)

// Gate decides. It is safe for concurrent use.
type Gate struct {
	identities []keybearer.Identity
	snapshots  *snapshots
	auditor    keybearer.Auditor
	dialer     *dial.Dialer
	now        func() time.Time
	logger     *slog.Logger
	sampled    *rate.Limiter // audit lines for senders that proved nothing
	stop       func()
}

// newGate wires a gate; c has its defaults filled in.
func newGate(c *Config) *Gate {
	s := &snapshots{
		store: c.Store, keyring: c.Keyring, now: c.Now, ttl: c.SecretTTL, stale: c.KeyringMaxStale, safes: map[string]*safe{},
		cache: fence.New[keybearer.Ref, snapshot](fence.Config{
			Max: maxSnapshots, MaxAge: c.StoreMaxStale, Timeout: lookupTimeout, Now: c.Now,
		}),
	}
	return &Gate{
		identities: c.Identities, snapshots: s, auditor: c.Auditor, dialer: c.Dialer, now: c.Now, logger: c.Logger,
		sampled: rate.NewLimiter(20, 100),
		stop:    c.Store.Watch(s.changed),
	}
}

// Retries when a record changes between the decision and the opening of its secret.
const maxRetries = 8

// Admit decides one request, in the order: caller, canonical destination, credential, grant, state, rule, resolved addresses,
// audit intent, secret. When it returns a Pass the intent is in the audit log and the engine must call Finish
// exactly once. When it returns an error the refusal has been recorded, no secret was opened for it and nothing was
// dialled; render it with [Refuse].
func (g *Gate) Admit(ctx context.Context, c *Call) (*Pass, *keybearer.Error) {
	p := &Pass{gate: g, Started: g.now()}
	p.event = keybearer.Event{Time: p.Started, ID: keybearer.NewID(keybearer.IDRequest), Method: c.Method}
	err := g.admit(ctx, c, p)
	if err == nil {
		return p, nil
	}
	if p.intended {
		p.finish(keybearer.Refuse, Result{Err: err})
	} else {
		g.refused(p, err)
	}
	return p, err
}

func (g *Gate) admit(ctx context.Context, c *Call, p *Pass) *keybearer.Error {
	t, err := c.read()
	if err != nil {
		return err
	}
	if c.Tunnel == nil && !keybearer.ForwardableMethod(c.Method) {
		return keybearer.NewError(keybearer.BadRequest, "the method is not one that Keybearer forwards").
			WithHint("use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")
	}
	caller, err := g.identify(ctx, c, t.tokens)
	if err != nil {
		return err
	}
	p.event.Caller = caller.Name
	target, err := c.target(&t)
	if err != nil {
		return err
	}
	p.event.Host, p.event.Port, p.event.Scheme, p.event.Path = target.Host, target.Port, target.Scheme, target.Path
	if !keybearer.ForwardableMethod(c.Method) {
		return keybearer.NewError(keybearer.BadRequest, "the method is not one that Keybearer forwards")
	}
	if t.credential == "" {
		return keybearer.NewError(keybearer.TagMissing, "the request names no credential").
			WithHint("set Keybearer-Credential: <scope>/<name>")
	}
	ref, perr := keybearer.ParseRef(t.credential)
	if perr != nil {
		return tagError("the credential is not named as <scope>/<name>")
	}
	p.event.Scope, p.event.Credential = ref.Scope, ref.Name

	request := policy.Request{Target: &target, Method: c.Method, Caller: caller}
	for range maxRetries {
		again, err := g.judge(ctx, &request, ref, &t, p)
		if err != nil || !again {
			if err == nil {
				p.prepare(c, &target)
			}
			return err
		}
	}
	return keybearer.NewError(keybearer.StoreUnavailable, "the credential keeps changing")
}

// judge decides on one snapshot and opens its secret. again says that the snapshot changed meanwhile.
func (g *Gate) judge(ctx context.Context, r *policy.Request, ref keybearer.Ref, t *tags, p *Pass) (again bool, _ *keybearer.Error) {
	entry, err := g.snapshots.get(ctx, ref)
	if err != nil {
		return false, err
	}
	snap := &entry.Value
	if snap.Credential != nil {
		p.event.Scope, p.event.Credential = snap.Scope.Name, snap.Credential.Name
		p.event.CredentialID, p.event.SecretVersion = snap.Credential.ID, snap.Credential.Current.Number
	}
	r.Now = g.now()
	d := policy.Decide(r, snap.Snapshot, policy.Unresolved)
	p.record(snap, &d)
	if t.actingUser != "" && (d.Allowed() || d.Code == keybearer.UserRequired) {
		return false, keybearer.NewError(keybearer.UserRequired, "the acting user's assertion cannot be verified: no issuer is configured")
	}
	if err := d.Err(); err != nil {
		return false, keybearer.AsError(err)
	}
	addresses, rerr := g.dialer.Resolve(ctx, d.Destination)
	if rerr != nil {
		return false, keybearer.AsError(rerr)
	}
	d = policy.Decide(r, snap.Snapshot, addresses.Reach)
	p.record(snap, &d)
	if err := d.Err(); err != nil {
		return false, keybearer.AsError(err)
	}
	if !p.intended {
		if err := g.intend(ctx, p); err != nil {
			return false, err
		}
	}
	o, err := snap.safe.open(ctx)
	if entry.Stale() {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// The terms that were sealed with the secret have the last word.
	sealed := policy.Admit(o.terms, r.Target, r.Method, addresses.Reach)
	switch {
	case o.terms.RequireUser && r.User == "":
		return false, keybearer.NewError(keybearer.UserRequired, "")
	case !sealed.Allowed() || sealed.Destination != d.Destination:
		return false, keybearer.NewError(keybearer.DestinationNotAllowed, "the secret was not given for this destination")
	}
	p.grant(snap, o, &d, addresses)
	return false, nil
}

// identify asks every identity. Proofs of two callers, or a wrong one beside a right one, are refused.
func (g *Gate) identify(ctx context.Context, c *Call, tokens []string) (*keybearer.Caller, *keybearer.Error) {
	e := keybearer.Evidence{Tokens: tokens, TLS: c.TLS, Peer: c.Peer, Fixed: c.Route.Caller}
	var proven *keybearer.Caller
	for _, identity := range g.identities {
		caller, err := identity.Identify(ctx, &e)
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

func (g *Gate) intend(ctx context.Context, p *Pass) *keybearer.Error {
	p.event.Phase, p.event.Kind, p.event.Decision = keybearer.Intent, keybearer.UseEvent, keybearer.Allow
	if err := g.auditor.Record(ctx, &p.event); err != nil {
		return &keybearer.Error{Code: keybearer.AuditUnavailable, Op: "record intent", Err: err}
	}
	p.intended = true
	return nil
}

// refused records a refusal. Senders that proved nothing decide nothing about how much is written.
func (g *Gate) refused(p *Pass, err *keybearer.Error) {
	e := &p.event
	e.Phase, e.Kind, e.Decision, e.Code = keybearer.Outcome, keybearer.RefusalEvent, keybearer.Refuse, err.Code
	e.Time = g.now()
	e.DurationMS = milliseconds(e.Time.Sub(p.Started))
	if e.Caller == "" || err.Code == keybearer.RateLimited {
		if g.sampled.AllowN(e.Time, 1) {
			g.auditor.Offer(e)
		}
		return
	}
	g.auditor.Post(e)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
