package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// expiresSoon is how long before its end a credential or token is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

// mark is what a finding amounts to.
type mark string

const (
	markOK   mark = "ok"
	markWarn mark = "warning"
	markFail mark = "failure"
)

// finding is the result of one check of the doctor.
type finding struct {
	Check  string         `json:"check"`
	Health mark           `json:"health"`
	Detail string         `json:"detail"`
	Code   keybearer.Code `json:"code,omitempty"`
	Fix    string         `json:"fix,omitempty"`
}

// doctor collects findings.
type doctor struct {
	c        *cli
	findings []finding
}

func (d *doctor) ok(check, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, Health: markOK, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{Check: check, Health: markWarn, Detail: fmt.Sprintf(format, args...), Fix: fix})
}

// fail notes an error. What this operator may not ask for has not failed.
func (d *doctor) fail(check string, err error) {
	e := keybearer.AsError(err)
	if e.Code == keybearer.Forbidden {
		d.warn(check, "use the admin socket, or ask an instance admin", "not looked at: %s", e.Message())
		return
	}
	d.findings = append(d.findings, finding{Check: check, Health: markFail, Detail: e.Message(), Code: e.Code, Fix: e.Advice()})
}

func (c *cli) doctorCommand() *cobra.Command {
	var config, adapter string
	var atRest bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the server and what it keeps, and tell how to mend it",
		Long: `Check the home directory, the socket, the server, its store, keyring and audit log, the scopes' keys, and credentials and tokens that
are about to end. Each finding that is not ok comes with its fix. The exit code is 1 when something has failed, and 6 when the
server cannot be reached.

When no server of this machine answers, and with --at-rest without asking one, it looks at what the configuration leads to, reading only: options
that have changed, the version of the store's schema and what this binary would migrate, space for that, whether store and keyring belong
together, whether the audit log is whole, the anchor, and which versions are connected to a shared store. That is what to run with a new
binary before it takes the place of the old one. With --at-rest the exit code is 1 when something keeps this binary from starting or should be
mended first, and 0 otherwise, also when it would migrate.`,
		Example: "  keybearer doctor\n  keybearer doctor -o json\n  keybearer doctor --at-rest --config Caddyfile",
		Args:    need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{c: c}
			if atRest {
				d.rest(cmd.Context(), config, adapter)
			} else if !d.run(cmd.Context()) {
				d.rest(cmd.Context(), config, adapter)
			}
			if err := d.print(); err != nil {
				return err
			}
			status := keybearer.ExitOK
			for _, f := range d.findings {
				if f.Health == markFail {
					status = max(status, keybearer.ExitFailed)
				}
				if f.Code == keybearer.ServerUnreachable {
					status = keybearer.ExitUnreachable
				}
			}
			if status == keybearer.ExitOK {
				return nil
			}
			return &exitError{status: status}
		},
	}
	cmd.Flags().BoolVar(&atRest, "at-rest", false, "look at what a server keeps, and ask none")
	configFlags(cmd, &config, &adapter)
	c.outputFlag(cmd)
	return cmd
}

func (d *doctor) print() error {
	return printList(d.c, d.findings, listing[finding]{
		heads: []string{"CHECK", "HEALTH", "DETAIL"},
		cells: func(f finding) []cell {
			sign := map[mark]cell{markOK: good("ok"), markWarn: odd("warning"), markFail: bad("failure")}[f.Health]
			detail := f.Detail
			if f.Fix != "" {
				detail += "; " + f.Fix
			}
			return []cell{bold(f.Check), sign, plain(detail)}
		},
		name: func(f finding) string { return f.Check + " " + string(f.Health) },
	})
}

// run asks the server. It returns false when one of this machine does not answer.
func (d *doctor) run(ctx context.Context) bool {
	cfg, err := d.c.serverConfig()
	if err != nil {
		d.fail("environment", &keybearer.Error{Code: keybearer.Invalid, Detail: err.Error()})
		return true
	}
	if cfg.Socket != "" {
		d.home(filepath.Dir(cfg.Socket))
		d.socket(cfg.Socket)
	}
	client, err := admin.NewClient(cfg)
	if err != nil {
		d.fail("server", err)
		return true
	}
	defer client.Close()
	scopes, err := all(0, admin.ListQuery{}, func(q admin.ListQuery) (admin.Page[admin.Scope], error) { return client.Scopes(ctx, q) })
	if err != nil {
		d.fail("server", err)
		return cfg.Socket == "" || keybearer.CodeOf(err) != keybearer.ServerUnreachable
	}
	d.ok("server", "answers at %s", cfg.Socket+cfg.Address)
	d.parts(ctx, client)
	d.scopes(scopes)
	d.credentials(ctx, client)
	d.callers(ctx, client)
	return true
}

// parts asks the server whether what it rests on works.
func (d *doctor) parts(ctx context.Context, client *admin.Client) {
	status, err := client.Status(ctx)
	if err != nil {
		d.fail("store, keyring, audit", err)
		return
	}
	for _, p := range status.Parts {
		switch {
		case p.Code == "":
			d.ok(p.Part, "%s", cmp.Or(p.Detail, "works"))
		case p.Warn:
			d.warn(p.Part, p.Hint, "%s", p.Detail)
		default:
			d.fail(p.Part, &keybearer.Error{Code: p.Code, Detail: p.Detail, Hint: p.Hint})
		}
	}
}

// home looks at the directory that keeps everything, and at the files in it.
func (d *doctor) home(dir string) {
	info, err := os.Stat(dir)
	if err != nil {
		d.warn("home", "keybearer run makes it", "%s is not there", dir)
		return
	}
	open := false
	if info.Mode().Perm()&0o077 != 0 {
		d.warn("home", "chmod 700 "+dir, "%s may be read by others (mode %04o)", dir, info.Mode().Perm())
		open = true
	}
	for _, name := range []string{"keyring.key", "keybearer.db", "audit.jsonl"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			d.warn("home", "chmod 600 "+path, "%s may be read by others (mode %04o)", path, info.Mode().Perm())
			open = true
		}
	}
	if !open {
		d.ok("home", "%s is its owner's alone", dir)
	}
}

func (d *doctor) socket(path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		d.findings = append(d.findings, finding{
			Check: "socket", Health: markFail, Code: keybearer.ServerUnreachable, Detail: path + " is not there",
			Fix: "start the server with keybearer run, or set KEYBEARER_HOME or KEYBEARER_ADDR",
		})
	case info.Mode().Type() != fs.ModeSocket:
		d.findings = append(d.findings, finding{
			Check: "socket", Health: markFail, Detail: path + " is no socket", Fix: "move it away and start the server again",
		})
	case info.Mode().Perm()&0o077 != 0:
		d.warn("socket", "chmod 600 "+path, "others may open %s (mode %04o)", path, info.Mode().Perm())
	default:
		d.ok("socket", "%s is its owner's alone", path)
	}
}

func (d *doctor) scopes(scopes []admin.Scope) {
	keys := 0
	for _, s := range scopes {
		switch {
		case s.Work != nil && s.Work.Waiting != "":
			d.warn("scope key", "mend what "+string(s.Work.Waiting)+" says; the server goes on by itself", "the %s of %s waits at %d of %d (%s)",
				s.Work.Kind, s.Name, s.Work.Done, s.Work.Total, s.Work.Waiting)
		case s.Key == nil && s.Name != keybearer.GlobalScope:
			d.warn("scope key", "keybearer scope generate-key "+s.Name, "scope %s has no key", s.Name)
		case s.Key != nil:
			keys++
		}
	}
	d.ok("scope keys", "%s of %s", count(keys, "key"), count(len(scopes), "scope"))
}

func (d *doctor) credentials(ctx context.Context, client *admin.Client) {
	list, err := all(0, admin.ListQuery{}, func(q admin.ListQuery) (admin.Page[admin.Credential], error) {
		return client.Credentials(ctx, admin.AllScopes, q)
	})
	if err != nil {
		d.fail("credentials", err)
		return
	}
	now, active := d.c.now(), 0
	for _, x := range list {
		ref := x.Ref().String()
		switch {
		case x.State == keybearer.NeedsSecret:
			d.warn("credential", "keybearer credential set-secret "+ref, "%s has no secret", ref)
		case x.State == keybearer.Expired:
			d.warn("credential", "keybearer credential set-secret "+ref+", and edit --expires", "%s expired %s", ref, ago(x.ExpiresAt, now))
		case x.State == keybearer.Active:
			active++
			if !x.ExpiresAt.IsZero() && x.ExpiresAt.Sub(now) < expiresSoon {
				d.warn("credential", "keybearer credential edit "+ref+" --expires 90d", "%s expires %s", ref, ago(x.ExpiresAt, now))
			}
			if len(x.Destinations) == 0 {
				d.warn("credential", "keybearer domain add "+ref+" <host>", "%s has no destination: every request is refused", ref)
			}
			for _, rule := range x.Destinations {
				if rule.Clear {
					d.warn("credential", "use https, or keybearer domain remove "+ref+" "+rule.Rule, "%s is sent in clear to %s", ref, rule.Rule)
				}
			}
		}
	}
	d.ok("credentials", "%d of %s active", active, count(len(list), "credential"))
}

func (d *doctor) callers(ctx context.Context, client *admin.Client) {
	list, err := all(0, admin.ListQuery{}, func(q admin.ListQuery) (admin.Page[admin.Caller], error) { return client.Callers(ctx, q) })
	if err != nil {
		d.fail("callers", err)
		return
	}
	now := d.c.now()
	for _, x := range list {
		live := 0
		var last time.Time
		for _, t := range x.Tokens {
			if t.ExpiresAt.IsZero() {
				live, last = live+1, time.Time{}
				break
			}
			if now.Before(t.ExpiresAt) {
				live++
				if t.ExpiresAt.After(last) {
					last = t.ExpiresAt
				}
			}
		}
		if live > 0 && !last.IsZero() && last.Sub(now) < expiresSoon {
			d.warn("caller", "keybearer caller token rotate "+x.Name+" --overlap 24h", "the last token of %s ends %s", x.Name, ago(last, now))
		}
	}
	d.ok("callers", "%s", count(len(list), "caller"))
}
