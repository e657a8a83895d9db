// Package signin is how a person becomes an operator in a browser, and how long they stay one.
//
// It decides who is signed in: it takes a proof once (an operator's token, the word of an OpenID provider, the set-up link), keeps a session on the
// server, and gives the browser a cookie that says nothing. At every request it asks custody whether the proof still holds, so that a revoked
// token or a disabled operator ends the session at once. It refuses to know pages and permissions: those are the console's and custody's.
//
// What it remembers is a [Register] in the memory of the process, under hashes of what browsers hold: a restart signs everybody out, and servers of
// a fleet do not know each other's sessions.
//
// A session ends without a request for Idle, and in all after Max. A page that asks by itself, again and again or for as long as it is open,
// does not count as somebody who is there: see [Unattended].
package signin

import (
	"context"
	"encoding/gob"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// CookieName is that of the session's cookie. The proxy never forwards it, nor any other whose name begins so.
const CookieName = "__Host-keybearer"

// How long a session lasts when the configuration does not say.
const (
	DefaultIdle    = 30 * time.Minute // without a request
	DefaultMax     = 12 * time.Hour   // in all
	DefaultConfirm = 5 * time.Minute  // how long a proof of presence holds for what destroys
)

// Config of sign-in. Custody and Register are required.
type Config struct {
	Custody   *custody.Custody
	Register  *Register     // stays its owner's to close
	Provider  *Provider     // nil: no OpenID provider
	Logger    *slog.Logger  // optional
	Idle, Max time.Duration // 0: the defaults
}

// SignIn is sign-in under one configuration. It is safe for concurrent use.
type SignIn struct {
	custody  *custody.Custody
	register *Register
	provider *Provider
	log      *slog.Logger
	sessions *scs.SessionManager
	store    store
}

// New returns sign-in over custody. It holds nothing that needs closing.
func New(cfg Config) *SignIn {
	s := &SignIn{custody: cfg.Custody, register: cfg.Register, provider: cfg.Provider, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.store = store{cfg.Register, orDefault(cfg.Idle, DefaultIdle), orDefault(cfg.Max, DefaultMax)}
	s.sessions = &scs.SessionManager{ // scs.New would start a store of its own, which nothing stops
		Store: s.store, HashTokenInStore: true, Codec: scs.GobCodec{},
		Lifetime: s.store.max, // the store knows what idle is
		Cookie:   scs.SessionCookie{Name: CookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode},
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.log.Error("session", "error", err)
			http.Error(w, "the session cannot be read; sign in again", http.StatusServiceUnavailable)
		},
	}
	return s
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Person is an operator who is signed in.
type Person struct {
	custody.Actor
	Name      string    // id without "user:"
	How       string    // "token" or "oidc"
	Since     time.Time // when they signed in
	Confirmed time.Time // when they last proved who they are
	recently  bool      // and that was just now
}

// The ways of signing in.
const (
	ByToken    = "token"
	ByProvider = "oidc"
)

// Keys of a session.
const (
	keyHow       = "how"
	keyProof     = "proof"
	keyWord      = "word"
	keySince     = "since"
	keyConfirmed = "confirmed"
	keyToasts    = "toasts"
)

func init() {
	gob.Register(time.Time{})
	gob.Register(custody.Proof{})
	gob.Register(word{})
	gob.Register([]Toast{})
}

// UnattendedHeader marks a request that a page makes by itself; see [Unattended].
const UnattendedHeader = "Keybearer-Unattended"

// Unattended reports whether a request says that no person made it: a page that asks again every few seconds sends the header [UnattendedHeader], and
// a stream of events asks for its own type. Such a request is answered while the session lasts, and does not make it last.
func Unattended(r *http.Request) bool {
	return r.Header.Get(UnattendedHeader) != "" || strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// Handler loads the session of each request for next, and saves what next changed of it.
func (s *SignIn) Handler(next http.Handler) http.Handler {
	inner := s.sessions.LoadAndSave(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie(CookieName); err == nil && !Unattended(r) {
			s.store.touch(keyOf(c.Value))
		}
		if _, known := r.Context().Value(addressKey{}).(netip.Addr); !known {
			if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
				r = r.WithContext(From(r.Context(), at.Addr()))
			}
		}
		inner.ServeHTTP(w, r)
	})
}

// begin starts a session under a new name, so that nobody who planted the old one shares it. It is audited first.
func (s *SignIn) begin(ctx context.Context, id, how string, actor custody.Actor, proof any) error {
	token, key := "", keyWord
	if p, ok := proof.(custody.Proof); ok {
		token, key = p.Token, keyProof
	}
	if err := s.custody.SignedIn(ctx, id, actor, token); err != nil {
		return err
	}
	if err := s.sessions.Clear(ctx); err != nil {
		return err
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	now := s.register.now().UTC()
	_, name := actor.Subject.Split()
	s.register.open(s.key(ctx), &session{owner: name, how: how, since: now, seen: now, idle: s.store.idle, max: s.store.max})
	s.sessions.Put(ctx, keyHow, how)
	s.sessions.Put(ctx, keySince, now)
	s.sessions.Put(ctx, keyConfirmed, now)
	s.sessions.Put(ctx, key, proof)
	return nil
}

// key is that of the session that asks, in the register.
func (s *SignIn) key(ctx context.Context) string { return keyOf(s.sessions.Token(ctx)) }

// Person returns who is signed in. It returns [keybearer.Unauthenticated] when nobody is, or not any more. Whoever answers for long, such as a stream of events,
// asks again meanwhile.
func (s *SignIn) Person(ctx context.Context) (*Person, error) {
	nobody := keybearer.NewError(keybearer.Unauthenticated, "you are not signed in")
	if s.sessions.Token(ctx) == "" || !s.store.alive(s.key(ctx)) {
		return nil, nobody
	}
	actor, err := s.actor(ctx)
	if err != nil {
		if keybearer.CodeOf(err) == keybearer.Unauthenticated {
			_ = s.sessions.Destroy(ctx)
			return nil, nobody
		}
		return nil, err
	}
	_, name := actor.Subject.Split()
	p := &Person{
		Actor: actor, Name: name, How: s.sessions.GetString(ctx, keyHow), Since: s.sessions.GetTime(ctx, keySince),
		Confirmed: s.sessions.GetTime(ctx, keyConfirmed),
	}
	ago := s.register.now().Sub(p.Confirmed)
	p.recently = -time.Second < ago && ago < DefaultConfirm // a clock that was set back proves nothing
	return p, nil
}

// actor judges the proof that the session was begun with.
func (s *SignIn) actor(ctx context.Context) (custody.Actor, error) {
	if proof, ok := s.sessions.Get(ctx, keyProof).(custody.Proof); ok {
		return s.custody.ActorByProof(ctx, proof)
	}
	if w, ok := s.sessions.Get(ctx, keyWord).(word); ok && s.provider != nil && s.provider.gave(w) {
		return s.custody.ActorByAssertion(ctx, s.provider.assertion(w))
	}
	return custody.Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
}

// RecentlyConfirmed reports whether the person had proved who they are within [DefaultConfirm] when they were asked for.
func (p *Person) RecentlyConfirmed() bool { return p.recently }

// confirmed notes that who is signed in has proved it again. The session goes on under a new name and ends when it would have.
func (s *SignIn) confirmed(ctx context.Context) error {
	s.register.mu.Lock()
	had := s.register.look(s.key(ctx), s.register.now())
	s.register.mu.Unlock()
	if had == nil {
		return keybearer.NewError(keybearer.Unauthenticated, "you are not signed in")
	}
	deadline := s.sessions.Deadline(ctx)
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	s.sessions.SetDeadline(ctx, deadline)
	now := s.register.now().UTC()
	s.register.open(s.key(ctx), &session{owner: had.owner, how: had.how, since: had.since, seen: now, idle: s.store.idle, max: s.store.max})
	s.sessions.Put(ctx, keyConfirmed, now)
	return nil
}

// Sessions are those of the person, the newest first.
func (s *SignIn) Sessions(ctx context.Context, p *Person) []Session {
	return s.register.of(p.Name, s.key(ctx), s.register.now())
}

// SignOut ends the session, and with everywhere all others of the same operator on this server. id is the request's.
func (s *SignIn) SignOut(ctx context.Context, id string, everywhere bool) error {
	if p, err := s.Person(ctx); err == nil {
		if everywhere {
			s.register.closeAll(p.Name)
		}
		s.custody.SignedOut(id, p.Actor)
	}
	return s.sessions.Destroy(ctx)
}

// End ends the sessions of an operator on this server, so that they do not go on should the operator be let in again.
func (s *SignIn) End(name string) { s.register.closeAll(name) }

// Toast is a message that the next page shows once.
type Toast struct {
	Tone string // "good" or "bad"
	Text string
}

// Say leaves a message for the next page.
func (s *SignIn) Say(ctx context.Context, t Toast) {
	said, _ := s.sessions.Get(ctx, keyToasts).([]Toast)
	s.sessions.Put(ctx, keyToasts, append(said, t))
}

// Said takes the messages.
func (s *SignIn) Said(ctx context.Context) []Toast {
	said, _ := s.sessions.Pop(ctx, keyToasts).([]Toast)
	return said
}
