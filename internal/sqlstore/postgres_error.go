package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keybearer/keybearer"
)

// sqlState returns PostgreSQL's code of an error, "" when it has none. See appendix A of its manual.
func sqlState(err error) string {
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		return p.Code
	}
	return ""
}

func (e *postgresEngine) duplicate(err error) bool { return sqlState(err) == "23505" }
func (e *postgresEngine) dangling(err error) bool  { return sqlState(err) == "23503" }

// away reports whether nobody has answered, or nobody who could. That the caller has no more time says nothing.
func away(err error) bool {
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		return false
	case errors.Is(err, errStalled), refusedConnection(err), lost(err):
		return true
	}
	return false
}

// refusedConnection reports whether there was no connection to be had.
func refusedConnection(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok && !ended(err)
}

// lost reports whether the connection has ended, by the server's will or not.
func lost(err error) bool {
	if err == nil || refusedConnection(err) || ended(err) {
		return false
	}
	if code := sqlState(err); code != "" {
		return strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "08") || code == "25P03"
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, sql.ErrConnDone) || strings.Contains(err.Error(), "conn closed")
}

// ended reports whether err only says that a context of ours has.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// fail does not name the host: the answer may reach somebody whom that does not concern. The cause, which is for the server's log,
// does.
func (e *postgresEngine) fail(op string, err error) error { return e.explain(op, "the database", err) }

// explain says what went wrong with the database, and how to mend it.
func (e *postgresEngine) explain(op, database string, err error) *keybearer.Error {
	if k, ok := errors.AsType[*keybearer.Error](err); ok {
		if k.Op == "" {
			k.Op = op
		}
		return k
	}
	out := &keybearer.Error{Code: keybearer.StoreUnavailable, Op: op, Err: cause(err)}
	out.Detail, out.Hint = e.reason(database, err)
	switch code := sqlState(err); code {
	case "22021", "22P05": // a text that is none
		out.Code = keybearer.Invalid
	}
	return out
}

// reason returns detail and hint; both empty: those of the code serve.
func (e *postgresEngine) reason(database string, err error) (detail, hint string) {
	code := sqlState(err)
	switch code {
	case "22021", "22P05":
		return "a text holds characters that cannot be stored", "leave out what is not UTF-8, and the character zero"
	case "25006":
		return database + " is read-only", "name the primary in the DSN, or end its read-only mode; nothing was changed"
	case "53100":
		return "there is no space left for " + database, "free space on its disk; nothing that was acknowledged is lost"
	case "53300":
		return database + " has no connection free", fmt.Sprintf("raise its max_connections: each Keybearer takes up to %d", readers+2)
	case "3D000":
		return database + " does not exist", "create it, or mend the name in the DSN: CREATE DATABASE keybearer OWNER keybearer"
	case "42704":
		return database + " does not know an option that the DSN holds", "leave it out"
	case "42501":
		return "the role may not use the tables of " + database, "make it their owner, or grant it SELECT, INSERT, UPDATE and DELETE on them"
	case "26000", "42P05":
		return "a pooler in transaction mode stands before " + database, "use its session mode, or add default_query_exec_mode=exec to the DSN"
	case "42883":
		return database + " lacks a function that Keybearer needs", "upgrade the server: PostgreSQL 13 or later"
	case "42P01", "42703":
		return database + " does not hold the tables of this store any more", "restore a backup, then start Keybearer again"
	case "57P01", "57P02", "57P03":
		return database + " is being shut down or started", "try again in a moment"
	case "55P03", "57014":
		return database + " did not answer in time", "look for transactions that are open in it for long"
	case "40001", "40P01":
		return "others change " + database + " at the same time", "try again"
	}
	switch {
	case strings.HasPrefix(code, "28"):
		return database + " refuses this role", "mend user and password in the DSN, or the server's pg_hba.conf"
	case errors.Is(err, errStandby):
		return database + " is a standby, which may lag behind", "name the primary in the DSN"
	case refusedConnection(err):
		return database + " cannot be reached", "start it, and check host and port in the DSN, sslmode and the network between"
	case errors.Is(err, errStalled):
		return database + " did not answer in time", "check the database and the network between"
	case lost(err):
		return "the connection to " + database + " was lost", "try again; a change may or may not have been made"
	case ended(err):
		return "the store did not answer in time", "try again"
	}
	if _, ok := errors.AsType[errUnreadable](err); ok {
		return database + " holds a record that cannot be read", "restore a backup"
	}
	return "", ""
}

// cause is what of an error may go to the log. That of a connection that failed holds the whole configuration.
func cause(err error) error {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return errors.New(err.Error())
	}
	return err
}
