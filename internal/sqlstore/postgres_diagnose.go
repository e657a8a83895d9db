package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

const (
	oldestServer = 130000           // PostgreSQL 13
	clockApart   = 30 * time.Second // what the clocks may differ by
	feedBehind   = 2 * time.Second  // what a change may take to hold everywhere
)

// Diagnose looks at the server, the connection, the clocks, the tables, the role's rights, what the server promises of durability, and
// how far this node is behind.
func (p *Postgres) Diagnose(ctx context.Context) []keybearer.Finding {
	e := p.engine
	server := "database at " + strings.Join(hosts(e.config), ", ")
	var version string
	var number int
	var now time.Time
	var readOnly, fsync, pages, commit string
	asked := time.Now()
	err := e.row(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int, clock_timestamp(),
			current_setting('transaction_read_only'), current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`,
		nil, &version, &number, &now, &readOnly, &fsync, &pages, &commit)
	took := time.Since(asked)
	if err != nil {
		return []keybearer.Finding{{Check: server, Detail: "cannot be asked", Err: e.explain("diagnose", "the database", err)}}
	}
	all := []keybearer.Finding{{Check: server, Detail: fmt.Sprintf("PostgreSQL %s answers in %v", version, took.Round(10*time.Microsecond))}}
	if number < oldestServer {
		all[0].Err = fault("the server is older than PostgreSQL 13", "upgrade it")
	}
	all = append(all, p.encryption(), clock(now, asked.Add(took/2)), durability(fsync, pages, commit))

	writing := keybearer.Finding{Check: "writing", Detail: "transactions may write"}
	if readOnly == "on" {
		writing.Detail = "transactions are read-only"
		writing.Err = fault("the database is read-only", "name the primary in the DSN, or end its read-only mode")
	}
	return append(all, writing, p.tables(ctx), p.rights(ctx), p.following())
}

func fault(detail, hint string) *keybearer.Error {
	return keybearer.NewError(keybearer.StoreUnavailable, detail).WithHint(hint)
}

// encryption says how the connection is protected. It looks at this end: a pooler may stand between.
func (p *Postgres) encryption() keybearer.Finding {
	f := keybearer.Finding{Check: "encryption of the connection"}
	switch config := p.engine.config; {
	case local(config):
		f.Detail = "the database is on this machine"
	case config.TLSConfig == nil:
		f.Warn, f.Detail = true, "none"
		f.Err = fault("ciphertext, names and the change feed cross the network in clear", "write sslmode=verify-full into the DSN")
	case config.TLSConfig.InsecureSkipVerify && config.TLSConfig.VerifyPeerCertificate == nil && config.TLSConfig.VerifyConnection == nil:
		f.Warn, f.Detail = true, "TLS, the server's certificate is not verified"
		f.Err = fault("anybody on the way can play the database", "write sslmode=verify-full and sslrootcert into the DSN")
	default:
		f.Detail = "TLS, the server's certificate is verified"
	}
	return f
}

// clock compares the database's clock with ours at the same moment.
func clock(theirs, ours time.Time) keybearer.Finding {
	apart := theirs.Sub(ours).Abs().Round(time.Millisecond)
	f := keybearer.Finding{Check: "clock", Detail: fmt.Sprintf("%v apart from the database's", apart)}
	if apart > clockApart {
		f.Warn = true
		f.Err = fault("the clocks of this machine and the database's differ", "synchronise both by NTP")
	}
	return f
}

// durability says whether what is acknowledged survives a crash of the server.
func durability(fsync, pages, commit string) keybearer.Finding {
	f := keybearer.Finding{Check: "durability", Detail: "what is acknowledged is on disk"}
	switch {
	case fsync != "on" || pages != "on":
		f.Detail = fmt.Sprintf("fsync is %s, full_page_writes is %s", fsync, pages)
		f.Err = fault("acknowledged changes, revocations among them, are lost when the server crashes", "set fsync and full_page_writes to on in postgresql.conf")
	case commit == "off":
		f.Detail = "synchronous_commit is off on the server; Keybearer turns it on for what it writes"
	}
	return f
}

func (p *Postgres) tables(ctx context.Context) keybearer.Finding {
	f := keybearer.Finding{Check: "tables"}
	files, err := postgresSchema.ReadDir("schema/postgres")
	var version int
	if err == nil {
		err = p.engine.row(ctx, `SELECT version FROM keybearer_schema`, nil, &version)
	}
	f.Detail = fmt.Sprintf("version %d", version)
	switch {
	case err != nil:
		f.Detail, f.Err = "cannot be read", p.engine.explain("diagnose", "the database", err)
	case version > len(files):
		f.Err = fault("a newer version of Keybearer has changed the tables", "upgrade this one, too")
	}
	return f
}

// rights looks for what the role lacks, and for what it has in vain.
func (p *Postgres) rights(ctx context.Context) keybearer.Finding {
	f := keybearer.Finding{Check: "rights of the role"}
	var role, lacking string
	var super bool
	err := p.engine.row(ctx, `SELECT current_user, (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
			COALESCE((SELECT string_agg(t || ' (' || r || ')', ', ' ORDER BY t, r) FROM unnest(string_to_array(?, ',')) t,
				unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) r WHERE NOT has_table_privilege(t, r)), '')`,
		[]any{strings.Join(tableNames, ",")}, &role, &super, &lacking)
	f.Detail = fmt.Sprintf("%s may read and write the tables", role)
	switch {
	case err != nil:
		f.Detail, f.Err = "cannot be read", p.engine.explain("diagnose", "the database", err)
	case lacking != "":
		f.Detail = fmt.Sprintf("%s lacks %s", role, lacking)
		f.Err = fault("the role may not use all tables", "make it their owner, or grant it SELECT, INSERT, UPDATE and DELETE on them")
	case super:
		f.Warn, f.Detail = true, role+" is a superuser"
		f.Err = fault("who gets hold of the DSN rules the whole server", "give Keybearer a role of its own that owns its database and nothing else")
	}
	return f
}

// tableNames are the tables that are read and written.
var tableNames = []string{
	"instance", "scopes", "credentials", "callers", "operators", "tokens", "changes", "events", "checkpoints", "usage", "usage_callers", "usage_hours", "last_uses",
	"refusals",
}

// following says how far this node is behind.
func (p *Postgres) following() keybearer.Finding {
	behind := time.Since(p.Current()).Round(time.Millisecond)
	f := keybearer.Finding{Check: "change feed", Detail: fmt.Sprintf("this node knows of all changes up to %v ago", behind)}
	if behind > feedBehind {
		f.Err = fault("changes made elsewhere do not arrive", "look for what the log says of the feed; a node that cannot follow serves what it knows for store_max_stale")
	}
	return f
}
