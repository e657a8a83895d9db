// Package caddymodule is all that knows Caddy: the app "keybearer", the HTTP handlers "keybearer" and
// "keybearer_admin", their Caddyfile, and the guest modules for store, keyring and audit log.
//
// It is a thin adapter. It reads configuration, says what is wrong with it and how to mend it, opens the parts in the
// order that Caddy's lifecycle allows, keeps them across reloads, and closes them when nobody uses
// them any more. It decides nothing about a request: package internal/proxy does.
//
// # Lifecycle
//
// Provision reads and checks: it makes no file, opens no socket and connects nowhere, so "validate" has no side
// effects. Start opens the parts, or takes those that the configuration before it left open. Stop ends
// the admin socket. Cleanup gives the parts back once the requests that hold them have ended.
//
// # Guests
//
// A module in the namespace keybearer.stores implements [StoreModule], one in keybearer.keyrings
// [KeyringModule], one in keybearer.audit [AuditModule] and one in keybearer.identities [IdentityModule].
package caddymodule

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/keybearer/keybearer/internal/proxy"
)

func init() { caddy.RegisterModule(App{}) }

// App is an outbound credential proxy: it holds the credentials that the handler `keybearer` sends and the
// handler `keybearer_admin` manages.
//
// Everything has a default that works: without options it keeps all state in the directory KEYBEARER_HOME, or else in
// `keybearer` in the user's data directory.
type App struct {
	// Where credentials, callers and grants are kept. Default: `sqlite` in the home directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=keybearer.stores inline_key=module"`

	// What seals and opens the secrets. Default: `local`, with its key file in the home directory.
	KeyringRaw json.RawMessage `json:"keyring,omitempty" caddy:"namespace=keybearer.keyrings inline_key=module"`

	// The keyring that the secrets are moved from, while they are: it still opens those that have not moved yet. No new key is made
	// in it. Default: none.
	FormerKeyringRaw json.RawMessage `json:"former_keyring,omitempty" caddy:"namespace=keybearer.keyrings inline_key=module"`

	// The store that the records are moved from, while they are: until they have moved it is the one that is read and written.
	// Default: none.
	FormerStoreRaw json.RawMessage `json:"former_store,omitempty" caddy:"namespace=keybearer.stores inline_key=module"`

	// Where uses, refusals and changes are recorded. Nothing is sent that cannot be recorded. Default: `file`, in
	// the home directory.
	AuditRaw json.RawMessage `json:"audit,omitempty" caddy:"namespace=keybearer.audit inline_key=module"`

	// How callers prove themselves. `token` and `fixed` are there unless they are named and switched off. A request that proves two
	// callers is refused. Default: `token` and `fixed`.
	IdentitiesRaw []json.RawMessage `json:"identities,omitempty" caddy:"namespace=keybearer.identities inline_key=module"`

	// Who may assert on whose behalf callers ask. Default: nobody, and every such assertion is refused.
	ActingUsers []*ActingUser `json:"acting_users,omitempty"`

	// Path of the unix socket that the CLI talks to; its mode is 0600. "off" opens none. Default: `admin.sock` in the
	// home directory.
	AdminSocket string `json:"admin_socket,omitempty"`

	// Path of the file that remembers how far the store's history went, so that a restored backup is refused until it is accepted: best on another
	// disk than the store's. "off" does without. Default: `anchor` in the home directory.
	Anchor string `json:"anchor,omitempty"`

	// PEM files whose certificates are roots for destinations, beside the system's.
	Trust []string `json:"trust,omitempty"`

	// Files of certificate revocation lists, PEM or DER, for destinations: a certificate whose issuer has a list here is refused when a list names
	// it, and when none is valid any more. A file that is replaced is read anew. Default: none.
	Revoked []string `json:"revoked,omitempty"`

	// Networks of special addresses (private, loopback, link-local and so on) that destination rules marked private may
	// reach. Default: none.
	AllowPrivate []string `json:"allow_private,omitempty"`

	// Whether addresses of cloud metadata services may be reached, if `allow_private` covers them too. Leave it off.
	AllowMetadata bool `json:"allow_metadata,omitempty"`

	// DNS server, `<ip>:<port>`, that resolves destinations. Default: the system's.
	Resolver string `json:"resolver,omitempty"`

	// How long after it was opened a secret serves while the keyring is away; within `secret_ttl` it always does; 0: no longer than that. Default: 15m.
	KeyringMaxStale *caddy.Duration `json:"keyring_max_stale,omitempty"`

	// How long metadata serves while the store is away; 0: not at all. Default: 1m.
	StoreMaxStale *caddy.Duration `json:"store_max_stale,omitempty"`

	// How long an opened secret is kept in memory; 0: every request opens it anew. Default: 5m.
	SecretTTL *caddy.Duration `json:"secret_ttl,omitempty"`

	// How long the version before the current one is kept for a rollback; 0: not at all. Default: 24h.
	KeepPrevious *caddy.Duration `json:"keep_previous,omitempty"`

	// How long to wait for a destination.
	Timeouts Timeouts `json:"timeouts,omitzero"`

	// What callers may ask, and how much of it one destination may take up; on each node.
	Limits Limits `json:"limits,omitzero"`

	logger        *slog.Logger
	lease         *lease
	handlers      []*Handler
	admins        []*AdminHandler
	engine        *engine // once started
	held          bundle
	proxies       []*proxy.Handler // once started
	socket        *adminSocket     // nil: off, or not started
	store         StoreModule
	keyring       KeyringModule
	audit         AuditModule
	formerStore   StoreModule   // nil: there is none
	formerKeyring KeyringModule // nil: there is none
	identities    []IdentityModule
	fixedOff      bool // no site may fix a caller
	private       []netip.Prefix
	roots         *x509.CertPool
	rootsHash     string   // of the PEM files, so that a reload sees new contents under an old name
	revoked       []string // paths
	revokedHash   string   // of the lists, so that a reload forgets issuers that have none any more
}

// Timeouts say how long each phase of a request may take. Zero values mean the defaults.
type Timeouts struct {
	// To resolve the destination and connect. Default: 10s.
	Dial caddy.Duration `json:"dial,omitempty"`

	// For the TLS handshake with the destination. Default: 10s.
	TLSHandshake caddy.Duration `json:"tls_handshake,omitempty"`

	// From the end of the request to the header of the answer. Default: 60s.
	ResponseHeader caddy.Duration `json:"response_header,omitempty"`

	// How long an unused connection to a destination is kept. Default: 90s.
	Idle caddy.Duration `json:"idle,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer", New: func() caddy.Module { return new(App) }}
}

// Provision reads and checks the configuration. It has no side effects.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Slogger()
	a.lease = newLease()
	if r := ctx.GetMetricsRegistry(); r != nil {
		if err := meter().Register(r); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	if err := events.(*caddyevents.App).On("started", arrival{a}); err != nil {
		return err
	}
	if err := events.(*caddyevents.App).On("stopping", departure{a}); err != nil {
		return err
	}
	if err := a.loadGuests(ctx); err != nil {
		return err
	}
	if err := a.provisionUsers(); err != nil {
		return err
	}
	if a.AdminSocket != "off" {
		if err := locate(&a.AdminSocket, "admin.sock"); err != nil {
			return fmt.Errorf("admin_socket: %w", err)
		}
		if err := checkSocketPath(a.AdminSocket); err != nil {
			return fmt.Errorf("admin_socket: %w", err)
		}
	}
	if a.Anchor != "off" {
		if err := locateAnchor(&a.Anchor); err != nil {
			return err
		}
	}
	if err := a.Limits.check(); err != nil {
		return err
	}
	if err := a.readTrust(); err != nil {
		return err
	}
	if err := a.readRevoked(); err != nil {
		return err
	}
	return a.readNetwork()
}

// loadGuests loads the modules that the configuration names, or the defaults.
func (a *App) loadGuests(ctx caddy.Context) error {
	load := func(field string, raw *json.RawMessage, fallback string) (any, error) {
		if *raw == nil {
			*raw = json.RawMessage(`{"module":"` + fallback + `"}`)
		}
		return ctx.LoadModule(a, field)
	}
	store, err := load("StoreRaw", &a.StoreRaw, "sqlite")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	keyring, err := load("KeyringRaw", &a.KeyringRaw, "local")
	if err != nil {
		return fmt.Errorf("keyring: %w", err)
	}
	audit, err := load("AuditRaw", &a.AuditRaw, "file")
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	a.store, a.keyring, a.audit = store.(StoreModule), keyring.(KeyringModule), audit.(AuditModule)
	if err := a.loadFormer(ctx); err != nil {
		return err
	}
	return a.loadIdentities(ctx)
}

// soleIdentities are those that stand once: a second one would refuse what the first one proves.
var soleIdentities = []string{"token", "fixed", "mtls", "unix_peer"}

// loadIdentities loads the identities that the configuration names, behind the two that are always there.
func (a *App) loadIdentities(ctx caddy.Context) error {
	var loaded []any
	if a.IdentitiesRaw != nil {
		identities, err := ctx.LoadModule(a, "IdentitiesRaw")
		if err != nil {
			return fmt.Errorf("identity: %w", err)
		}
		loaded = identities.([]any)
	}
	named := map[string]bool{}
	a.identities = []IdentityModule{new(TokenIdentity), new(FixedIdentity)}
	for _, identity := range loaded {
		guest := identity.(IdentityModule)
		name := guest.CaddyModule().ID.Name()
		if named[name] && slices.Contains(soleIdentities, name) {
			return fmt.Errorf("identity %s is written twice: put everything into one", name)
		}
		named[name] = true
		switch guest := guest.(type) {
		case *TokenIdentity:
			a.identities[0] = guest
		case *FixedIdentity:
			a.identities[1], a.fixedOff = guest, guest.Off
		default:
			a.identities = append(a.identities, guest)
		}
	}
	return nil
}

// loadFormer loads the modules that are moved from, if any.
func (a *App) loadFormer(ctx caddy.Context) error {
	if a.FormerKeyringRaw != nil {
		m, err := ctx.LoadModule(a, "FormerKeyringRaw")
		if err != nil {
			return fmt.Errorf("former_keyring: %w", err)
		}
		a.formerKeyring = m.(KeyringModule)
		if guestKey(a.formerKeyring) == guestKey(a.keyring) {
			return fmt.Errorf("former_keyring is the same as keyring: name the new one in keyring and the old one in former_keyring, or remove former_keyring")
		}
	}
	if a.FormerStoreRaw != nil {
		m, err := ctx.LoadModule(a, "FormerStoreRaw")
		if err != nil {
			return fmt.Errorf("former_store: %w", err)
		}
		a.formerStore = m.(StoreModule)
		if guestKey(a.formerStore) == guestKey(a.store) {
			return fmt.Errorf("former_store is the same as store: name the new one in store and the old one in former_store, or remove former_store")
		}
	}
	return nil
}

// readNetwork parses allow_private and resolver.
func (a *App) readNetwork() error {
	repl := caddy.NewReplacer()
	for _, text := range a.AllowPrivate {
		text, err := repl.ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("allow_private: %w", err)
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("allow_private: %q is not a network: write it like 10.20.0.0/16 or fd00:20::/32; one address is 10.20.1.5/32", text)
		}
		if prefix != prefix.Masked() {
			return fmt.Errorf("allow_private: %s has bits behind its length: write %s, or %s/%d for the one address",
				prefix, prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
		}
		a.private = append(a.private, prefix)
	}
	var err error
	if a.Resolver, err = repl.ReplaceOrErr(a.Resolver, true, true); err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	if a.Resolver != "" {
		if _, err := netip.ParseAddrPort(a.Resolver); err != nil {
			return fmt.Errorf("resolver: %q is not the address of a DNS server: write it like 10.0.0.53:53 or [fd00::53]:53", a.Resolver)
		}
	}
	return nil
}
