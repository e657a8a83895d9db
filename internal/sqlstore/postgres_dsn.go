package sqlstore

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keybearer/keybearer"
)

// mentionsTLS finds that a DSN says how its connection is protected.
var mentionsTLS = regexp.MustCompile(`\bsslmode\s*=`)

// parseDSN reads a DSN and adds what Keybearer insists on: the primary only, and, unless the DSN says something else in so many words,
// a server whose certificate is verified. Its errors hold nothing of the DSN but host names.
func parseDSN(dsn string) (*pgx.ConnConfig, error) {
	invalid := func(detail, hint string) error { return keybearer.NewError(keybearer.Invalid, detail).WithHint(hint) }
	const form = "write it as postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/ca.pem"
	config, err := pgx.ParseConfig(dsn)
	if err == nil && !mentionsTLS.MatchString(dsn) && !local(config) {
		config, err = pgx.ParseConfig(verified(dsn))
	}
	switch {
	case err != nil: // which holds the DSN
		return nil, invalid("the DSN of the store cannot be read", form+"; files that it names must be readable")
	case strings.TrimSpace(dsn) == "":
		return nil, invalid("the DSN of the store is empty", form)
	}
	if !local(config) {
		protected := config.TLSConfig != nil
		for _, f := range config.Fallbacks {
			if (f.TLSConfig != nil) != protected {
				return nil, invalid("sslmode allow and prefer let anybody on the way switch encryption off", "write sslmode=verify-full")
			}
		}
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > time.Minute { // pgx's own default is two minutes
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	config.DialFunc = dialer.DialContext
	config.ValidateConnect = primary
	return config, nil
}

func verified(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		q := u.Query()
		q.Set("sslmode", "verify-full")
		u.RawQuery = q.Encode()
		return u.String()
	}
	return dsn + " sslmode=verify-full"
}

// local reports whether all hosts are this machine.
func local(config *pgx.ConnConfig) bool {
	for _, host := range hosts(config) {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			continue // a unix socket
		}
		a, err := netip.ParseAddr(name)
		if name != "localhost" && (err != nil || !a.IsLoopback()) {
			return false
		}
	}
	return true
}

// hosts returns host:port, or the path of a socket, of each server that the configuration names.
func hosts(config *pgx.ConnConfig) []string {
	var all []string
	add := func(host string, port uint16) {
		if !strings.HasPrefix(host, "/") && !strings.HasPrefix(host, "@") {
			host = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		if len(all) == 0 || all[len(all)-1] != host {
			all = append(all, host)
		}
	}
	add(config.Host, config.Port)
	for _, f := range config.Fallbacks {
		add(f.Host, f.Port)
	}
	return all
}

var errStandby = errors.New("the server is a standby")

// primary refuses a server that follows another: what it says is out of date, and nobody knows by how much.
func primary(ctx context.Context, conn *pgconn.PgConn) error {
	result := conn.Exec(ctx, "SELECT pg_is_in_recovery()")
	all, err := result.ReadAll()
	if err != nil {
		return err
	}
	if len(all) != 1 || len(all[0].Rows) != 1 || string(all[0].Rows[0][0]) != "f" {
		return errStandby
	}
	return nil
}
