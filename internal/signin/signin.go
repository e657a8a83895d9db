// Package signin is how a person becomes an operator in a browser, and how long they stay one.
//
// It decides who is signed in: it takes a proof once (an operator's token), keeps a session on the server, and gives the browser a cookie that
// says nothing. At every request it asks custody whether the proof still holds, so that a revoked token or a disabled operator ends the session at
// once. It refuses to know pages and permissions: those are the console's and custody's.
//
// Sessions live in the memory of the process, under a hash of what the cookie holds: a restart signs everybody out.
package signin

import (
	"context"
	"encoding/gob"
	"log/slog"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// CookieName is that of the session's cookie. The proxy never forwards it.
const CookieName = "__Host-keybearer"

// How long a session lasts when the configuration does not say.
const (
	DefaultIdle    = 30 * time.Minute // without a request
	DefaultMax     = 12 * time.Hour   // in all
	DefaultConfirm = 5 * time.Minute  // how long a proof of presence holds for what destroys
)

// Config of sign-in. Custody is required.
type Config struct {
	Custody   *custody.Custody
	Logger    *slog.Logger  // optional
	Idle, Max time.Duration // 0: the defaults
}

// SignIn keeps the sessions of operators. It is safe for concurrent use.
type SignIn struct {
	custody  *custody.Custody
	log      *slog.Logger
	sessions *scs.SessionManager
	store    *memstore.MemStore
	onces    onces
}

// New returns sign-in over custody. Close it.
func New(cfg Config) *SignIn {
	s := &SignIn{custody: cfg.Custody, log: cfg.Logger, sessions: &scs.SessionManager{Codec: scs.GobCodec{}}, store: memstore.NewWithCleanupInterval(time.Minute)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	m := s.sessions
	m.Store, m.HashTokenInStore = s.store, true
	m.IdleTimeout, m.Lifetime = orDefault(cfg.Idle, DefaultIdle), orDefault(cfg.Max, DefaultMax)
	m.Cookie.Name, m.Cookie.Path, m.Cookie.Secure, m.Cookie.HttpOnly = CookieName, "/", true, true
	m.Cookie.SameSite, m.Cookie.Persist = http.SameSiteStrictMode, false
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		s.log.Error("session", "error", err)
		http.Error(w, "the session cannot be read; sign in again", http.StatusServiceUnavailable)
	}
	return s
}

// Close ends what sweeps old sessions away.
func (s *SignIn) Close() error {
	s.store.StopCleanup()
	return nil
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
	How       string    // "token"
	Since     time.Time // when they signed in
	Confirmed time.Time // when they last proved who they are
}

// Keys of a session.
const (
	keyHow       = "how"
	keyProof     = "proof"
	keySince     = "since"
	keyConfirmed = "confirmed"
	keyToasts    = "toasts"
)

func init() {
	gob.Register(time.Time{})
	gob.Register(custody.Proof{})
	gob.Register([]Toast{})
}

// Handler loads the session of each request for next, and saves what next changed of it.
func (s *SignIn) Handler(next http.Handler) http.Handler { return s.sessions.LoadAndSave(next) }

// WithToken signs in whoever has an operator's token. It returns [keybearer.Unauthenticated] for anything else.
func (s *SignIn) WithToken(ctx context.Context, token keybearer.Secret) error {
	proof, err := s.custody.Prove(ctx, token)
	if err != nil {
		return err
	}
	return s.begin(ctx, "token", func() { s.sessions.Put(ctx, keyProof, proof) })
}

// begin starts a session under a new name, so that nobody who planted the old one shares it.
func (s *SignIn) begin(ctx context.Context, how string, put func()) error {
	if err := s.sessions.Clear(ctx); err != nil {
		return err
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	now := time.Now().UTC()
	s.sessions.Put(ctx, keyHow, how)
	s.sessions.Put(ctx, keySince, now)
	s.sessions.Put(ctx, keyConfirmed, now)
	put()
	return nil
}

// Person returns who is signed in. It returns [keybearer.Unauthenticated] when nobody is, or not any more.
func (s *SignIn) Person(ctx context.Context) (*Person, error) {
	proof, ok := s.sessions.Get(ctx, keyProof).(custody.Proof)
	if !ok {
		return nil, keybearer.NewError(keybearer.Unauthenticated, "you are not signed in")
	}
	actor, err := s.custody.ActorByProof(ctx, proof)
	if err != nil {
		if keybearer.CodeOf(err) == keybearer.Unauthenticated {
			_ = s.sessions.Destroy(ctx)
		}
		return nil, err
	}
	_, name := actor.Subject.Split()
	return &Person{
		Actor: actor, Name: name, How: s.sessions.GetString(ctx, keyHow), Since: s.sessions.GetTime(ctx, keySince),
		Confirmed: s.sessions.GetTime(ctx, keyConfirmed),
	}, nil
}

// Confirm takes the proof again from who is signed in, before something is destroyed. It returns [keybearer.Unauthenticated] for a token
// that is not theirs.
func (s *SignIn) Confirm(ctx context.Context, token keybearer.Secret) error {
	had, _ := s.sessions.Get(ctx, keyProof).(custody.Proof)
	proof, err := s.custody.Prove(ctx, token)
	if err != nil {
		return err
	}
	if had.Operator != proof.Operator {
		return keybearer.NewError(keybearer.Unauthenticated, "this token is another operator's")
	}
	if err := s.sessions.RenewToken(ctx); err != nil {
		return err
	}
	s.sessions.Put(ctx, keyConfirmed, time.Now().UTC())
	return nil
}

// RecentlyConfirmed reports whether the person proved who they are within [DefaultConfirm].
func (p *Person) RecentlyConfirmed() bool { return time.Since(p.Confirmed) < DefaultConfirm }

// SignOut ends the session.
func (s *SignIn) SignOut(ctx context.Context) error { return s.sessions.Destroy(ctx) }

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
