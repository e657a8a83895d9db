package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Rest is what a configuration leads to, looked at beside a server or without one: nothing of it is opened for writing, made or migrated.
type Rest struct {
	app     *App
	changed []keybearer.Finding
}

// AtRest reads the part of a configuration, in Caddy's JSON, that is ours, without starting anything. Errors are about the configuration.
func AtRest(config []byte) (*Rest, error) {
	config = caddy.RemoveMetaFields(config)
	changed, err := changedIn(config, changedOptions)
	if err != nil {
		return nil, err
	}
	var parsed struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, err
	}
	// Neither log files nor listeners: this only looks.
	silent := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}
	own := &caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: silent}}}
	if app, ok := parsed.Apps["keybearer"]; ok {
		own.AppsRaw = caddy.ModuleMap{"keybearer": app}
	}
	ctx, err := caddy.ProvisionContext(own)
	if err != nil {
		return nil, err
	}
	app, err := ctx.App("keybearer")
	if err != nil {
		return nil, err
	}
	return &Rest{app.(*App), changed}, nil
}

// restingStore is a store module that can be looked at beside a server or without one.
type restingStore interface {
	inspect(context.Context) (*sqlstore.Inspection, error)
}

func (s *SQLite) inspect(ctx context.Context) (*sqlstore.Inspection, error) {
	return sqlstore.InspectSQLite(ctx, s.Path)
}

func (p *Postgres) inspect(ctx context.Context) (*sqlstore.Inspection, error) {
	return sqlstore.InspectPostgres(ctx, sqlstore.PostgresConfig{DSN: p.dsn, Renew: p.resolve})
}

// Inspect tells what a new binary finds, what it will do when it starts, and what keeps it from that, in the order of a list for people.
func (r *Rest) Inspect(ctx context.Context) []keybearer.Finding {
	all := append([]keybearer.Finding(nil), r.changed...)
	if len(all) == 0 {
		all = append(all, keybearer.Finding{Check: "configuration", Detail: "it is valid, and no option of it has changed its meaning"})
	}
	store, ok := r.app.store.(restingStore)
	if !ok {
		return append(all, keybearer.Finding{Check: "schema", Detail: r.kind() + " has none that a new version migrates"}, r.anchorAt(nil))
	}
	i, err := store.inspect(ctx)
	if err != nil {
		return append(all, keybearer.Finding{Check: "schema", Detail: "cannot be told", Err: keybearer.AsError(err)})
	}
	all = append(all, r.schema(i))
	if i.Found && i.Schema < i.Wanted {
		all = append(all, r.space(i))
	}
	all = append(all, r.keys(ctx, i), r.log(i), r.anchorAt(i))
	if len(i.Nodes) > 0 {
		all = append(all, fleet(i.Nodes, version()))
	}
	return all
}

func (r *Rest) kind() string { return "store " + r.app.store.CaddyModule().ID.Name() }

// schema says what the migration will do.
func (r *Rest) schema(i *sqlstore.Inspection) keybearer.Finding {
	f := keybearer.Finding{Check: "schema", Detail: fmt.Sprintf("version %d, as this binary has it", i.Schema)}
	switch {
	case !i.Found:
		f.Detail = fmt.Sprintf("there is no store yet; keybearer run makes one, of version %d", i.Wanted)
	case i.Schema > i.Wanted:
		f.Detail = ""
		f.Err = restFault(fmt.Sprintf("the store has version %d of the schema, and this binary knows %d: it is too old", i.Schema, i.Wanted),
			"install the version again that wrote it, or restore the backup that was made before the upgrade")
	case i.Schema < i.Wanted:
		f.Warn = true
		f.Detail = fmt.Sprintf("version %d; when this binary starts it makes it version %d, and older ones refuse it then. New: %s", i.Schema, i.Wanted, strings.Join(i.Steps, "; "))
		f.Err = restFault(f.Detail, "make a backup first: "+r.backupCommand())
	}
	return f
}

// backupCommand is what makes a backup of this store.
func (r *Rest) backupCommand() string {
	if _, ok := r.app.store.(*SQLite); ok {
		return "keybearer backup <directory>"
	}
	return `pg_dump --format=custom --file=keybearer.dump "$KEYBEARER_DSN"`
}

func restFault(detail, hint string) *keybearer.Error {
	return keybearer.NewError(keybearer.StoreUnavailable, detail).WithHint(hint)
}

// space says whether the backup and the migration have room: each takes up to the size of the store once more.
func (r *Rest) space(i *sqlstore.Inspection) keybearer.Finding {
	sqlite, ok := r.app.store.(*SQLite)
	if !ok {
		return keybearer.Finding{Check: "space", Detail: fmt.Sprintf("the tables take %s on the database server; the backup takes no more", megabytes(i.Bytes))}
	}
	dir := filepath.Dir(sqlite.Path)
	return room(dir, 2*i.Bytes, freeSpace(dir))
}

func room(dir string, need, free int64) keybearer.Finding {
	f := keybearer.Finding{Check: "space", Detail: fmt.Sprintf("%s are free in %s; backup and migration take up to %s", megabytes(free), dir, megabytes(need))}
	switch {
	case free < 0:
		f.Detail = fmt.Sprintf("backup and migration take up to %s in %s", megabytes(need), dir)
	case free < need:
		f.Err = restFault(f.Detail, "free space there first")
	}
	return f
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// keys says whether store and keyring belong together.
func (r *Rest) keys(ctx context.Context, i *sqlstore.Inspection) keybearer.Finding {
	f := keybearer.Finding{Check: "keys"}
	wanted := map[string]*keybearer.Scope{}
	for _, s := range i.Scopes {
		if s.Key != nil && s.Former == nil && s.DeletedAt.IsZero() {
			wanted[s.Key.Name] = s
		}
	}
	have, err := r.versions(ctx, wanted)
	if err != nil {
		f.Detail, f.Err = "cannot be told", keybearer.AsError(err)
		return f
	}
	var missing []string
	for name, s := range wanted {
		if have[name] < s.Key.Version {
			missing = append(missing, s.Name)
		}
	}
	slices.Sort(missing)
	f.Detail = "the keyring has the key of every scope that has one"
	_, local := r.app.keyring.(*LocalKeyring)
	switch {
	case len(missing) > 0:
		f.Detail = "store and keyring do not belong together: the keyring lacks the key of " + strings.Join(missing, ", ")
		f.Err = keybearer.NewError(keybearer.KeyringUnavailable, f.Detail).WithHint("put back the keyring and the store that belong together, both from the same backup")
	case local && !i.Found && len(have) > 0:
		f.Warn, f.Detail = true, "the keyring has keys, and there is no store that uses them"
		f.Err = keybearer.NewError(keybearer.KeyringUnavailable, f.Detail).WithHint("look whether the configuration names the right store, or restore it")
	}
	return f
}

// versions returns the latest version of each wanted key that the keyring has; all keys of a local one.
func (r *Rest) versions(ctx context.Context, wanted map[string]*keybearer.Scope) (map[string]uint32, error) {
	if l, ok := r.app.keyring.(*LocalKeyring); ok {
		return localkeys.Inspect(localkeys.Config{Path: l.Path, KEK: l.kek})
	}
	k, err := r.app.keyring.OpenKeyring(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer k.Close()
	have := map[string]uint32{}
	for name := range wanted {
		version, err := k.KeyVersion(ctx, name)
		if err != nil && keybearer.CodeOf(err) != keybearer.NotFound {
			return nil, err
		}
		have[name] = version
	}
	return have, nil
}

// log says whether the audit log is whole, and the ledger can go on in it.
func (r *Rest) log(i *sqlstore.Inspection) keybearer.Finding {
	f := keybearer.Finding{Check: "audit log"}
	file, ok := r.app.audit.(*AuditFile)
	if !ok {
		f.Detail = "it is in no file"
		return f
	}
	positions := i.Positions
	if len(positions) > 1 { // those of other nodes are in other files
		positions = nil
	}
	log, err := audit.Inspect(file.Path, positions)
	fault := func(detail, hint string) {
		f.Warn, f.Detail, f.Err = true, detail, keybearer.NewError(keybearer.AuditUnavailable, detail).WithHint(hint)
	}
	switch {
	case err != nil:
		f.Detail, f.Err = "cannot be read", keybearer.AsError(err)
	case log.Broken > 0:
		fault(fmt.Sprintf("%d of its %d lines are no events, the first is line %d", log.Broken, log.Lines, log.First),
			"one is what a full disk may leave; else look who may write "+file.Path+", and keep a copy of it")
	case log.Behind:
		fault("the place up to which uses were counted is in none of the files that are there", "put back the file that was moved away; without it what it holds is not counted")
	case !log.Found:
		f.Detail = "it is empty, or not there yet"
	default:
		f.Detail = fmt.Sprintf("all %d lines are events", log.Lines)
	}
	return f
}

// anchorAt says whether the store is one that the server will serve from; i is nil where that cannot be told.
func (r *Rest) anchorAt(i *sqlstore.Inspection) keybearer.Finding {
	f := keybearer.Finding{Check: "anchor"}
	if r.app.Anchor == "off" {
		f.Detail = "off"
		return f
	}
	entries, err := anchor.Read(r.app.Anchor)
	if err != nil {
		f.Detail, f.Err = "cannot be read", keybearer.AsError(err)
		return f
	}
	id := anchor.ID(placeOf(r.app.store))
	at := slices.IndexFunc(entries, func(e anchor.Entry) bool { return e.ID == id })
	switch {
	case at < 0:
		f.Detail = "none yet for this store; a server makes it when it starts"
	case entries[at].Refused, i != nil && i.Sequence < entries[at].Sequence:
		f.Detail = "the store is older than what this server has seen of it"
		f.Err = restFault(f.Detail, "put back the newer store, or, if what was lost may be lost, keybearer anchor accept after the server has refused to start")
	default:
		f.Detail = fmt.Sprintf("the store holds all %d changes that this server has seen", entries[at].Sequence)
	}
	return f
}

// fleet says which versions are connected to a shared store.
func fleet(nodes []sqlstore.Node, own string) keybearer.Finding {
	f := keybearer.Finding{Check: "fleet"}
	var others, all []string
	for _, n := range nodes {
		version := n.Version
		if version == "" {
			version = "of an unknown version"
		}
		all = append(all, n.Name+" "+version)
		if n.Version != own {
			others = append(others, n.Name+" "+version)
		}
	}
	f.Detail = fmt.Sprintf("%s, as this binary", strings.Join(all, ", "))
	if len(others) > 0 {
		f.Warn, f.Detail = true, fmt.Sprintf("this binary is %s; connected are %s", own, strings.Join(others, ", "))
		f.Err = restFault(f.Detail, "upgrade one server after the other; until all are, those of the version before go on but must not be restarted (docs/upgrade.md)")
	}
	return f
}
