package caddymodule

import (
	"context"
	"log/slog"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

func init() { caddy.RegisterModule(AuditFile{}) }

// AuditFile appends audit events to a file, one JSON object a line. It follows log rotation by itself.
type AuditFile struct {
	// Path of the file; its mode is 0600. Devices such as /dev/stdout will do, without the ledger of uses. Default:
	// `audit.jsonl` in the home directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (AuditFile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.audit.file", New: func() caddy.Module { return new(AuditFile) }}
}

// UnmarshalCaddyfile sets up the audit log.
//
//	audit file [<path>]
func (a *AuditFile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return optionalPath(d, &a.Path) }

// Provision finds the path.
func (a *AuditFile) Provision(caddy.Context) error {
	if err := locate(&a.Path, "audit.jsonl"); err != nil {
		return err
	}
	return notDirectory(a.Path)
}

// OpenAudit implements [AuditModule].
func (a *AuditFile) OpenAudit(_ context.Context, logger *slog.Logger) (keybearer.Auditor, error) {
	if err := makeParent(a.Path); err != nil {
		return nil, err
	}
	return audit.OpenFile(a.Path, audit.Options{Notify: func(err error) {
		if err != nil {
			logger.Error("audit log cannot be written: nothing is sent until it can", "path", a.Path, "error", err)
		} else {
			logger.Info("audit log can be written again", "path", a.Path)
		}
	}})
}

// Interface guards.
var (
	_ AuditModule           = (*AuditFile)(nil)
	_ caddy.Provisioner     = (*AuditFile)(nil)
	_ caddyfile.Unmarshaler = (*AuditFile)(nil)
)
