package sqlstore

import (
	"context"
	"database/sql"
	"strings"
)

// nameOf is what a connection calls itself, so that pg_stat_activity tells the nodes and their versions. PostgreSQL cuts it after 63 bytes.
func nameOf(node, version string) string {
	if version == "" {
		return application + node
	}
	return application + node + " " + version
}

const application = "keybearer "

// InspectPostgres reads a database and changes nothing. One without our tables gives an Inspection with Found unset. c.Node does not matter.
//
// It returns the errors of [OpenPostgres], but for the version of the schema, which is told.
func InspectPostgres(ctx context.Context, c PostgresConfig) (*Inspection, error) {
	config, err := parseDSN(c.DSN.Reveal())
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["default_transaction_read_only"] = "on"
	e := newPostgresEngine(config, c.Renew)
	defer func() { _ = e.close() }()
	server := "the database at " + strings.Join(hosts(config), ", ")
	i := &Inspection{Wanted: len(postgresSteps)}
	if i.Schema, err = schemaVersion(ctx, e.reads); err != nil {
		return nil, e.explain("inspect the store", server, err)
	}
	if i.Schema == 0 {
		return i, nil
	}
	if err = i.look(ctx, e.reads, postgresSteps); err == nil {
		err = e.reads.QueryRowContext(ctx, `SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = current_schema()`).Scan(&i.Bytes)
	}
	if err == nil {
		i.Nodes, err = nodes(ctx, e.reads)
	}
	if err != nil {
		return nil, e.explain("inspect the store", server, err)
	}
	return i, nil
}

// nodes returns the processes that are connected with the same role, which they all are: others' connections are not told of.
func nodes(ctx context.Context, db querier) (all []Node, err error) {
	err = each(ctx, db, `SELECT DISTINCT application_name FROM pg_stat_activity
		WHERE datname = current_database() AND application_name LIKE '`+application+`%' ORDER BY 1`, func(rows *sql.Rows) error {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		n := Node{}
		n.Name, n.Version, _ = strings.Cut(strings.TrimPrefix(name, application), " ")
		all = append(all, n)
		return nil
	})
	return all, err
}
