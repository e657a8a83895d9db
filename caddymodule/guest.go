package caddymodule

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
)

// StoreModule is a module in the namespace keybearer.stores. Its Provision has no side effects and leaves in the exported fields all
// that tells one store from another: two modules of equal JSON share one open store, also across a reload.
type StoreModule interface {
	caddy.Module
	// OpenStore opens the store, and migrates it if need be. The app closes it.
	OpenStore(ctx context.Context, logger *slog.Logger) (keybearer.Store, error)
}

// KeyringModule is a module in the namespace keybearer.keyrings. What holds for StoreModule holds for it.
type KeyringModule interface {
	caddy.Module
	// OpenKeyring opens the keyring. The app closes it.
	OpenKeyring(ctx context.Context, logger *slog.Logger) (keybearer.Keyring, error)
}

// AuditModule is a module in the namespace keybearer.audit. What holds for StoreModule holds for it.
type AuditModule interface {
	caddy.Module
	// OpenAudit opens the audit log. The app closes it.
	OpenAudit(ctx context.Context, logger *slog.Logger) (keybearer.Auditor, error)
}

// IdentityModule is a module in the namespace keybearer.identities: a way to prove who calls.
type IdentityModule interface {
	caddy.Module
	// OpenIdentity returns the identity, or nil when that is switched off; it looks callers up in callers, which stays the app's. When the identity
	// is an io.Closer, the app closes it before that.
	OpenIdentity(ctx context.Context, callers keybearer.Callers, logger *slog.Logger) (keybearer.Identity, error)
}

// fingerprinted is a guest that also depends on what files hold: it is opened anew on a reload when they hold something else.
type fingerprinted interface{ Fingerprint() string }
