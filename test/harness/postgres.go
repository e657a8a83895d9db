package harness

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Postgres is Debian's PostgreSQL with an empty cluster of its own. It asks everybody for a password.
type Postgres struct {
	Addr netip.AddrPort // port 5432 of an address of its own; the same after a restart

	dir      string // holds data, and the unix socket
	bin      string // where the programs are
	user     *syscall.Credential
	password string
	version  int // 150000 for 15.0
	settings []string
	process  *Process
	database atomic.Int32
}

const postgresAdmin = "postgres"

// StartPostgres makes a cluster and starts a server on it. settings such as "fsync=off" are added to its configuration; without that one it
// keeps what it has acknowledged even when it is killed.
func StartPostgres(tb TB, settings ...string) *Postgres {
	tb.Helper()
	bin, err := postgresBin()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	p := &Postgres{
		Addr: netip.AddrPortFrom(Address(), 5432), dir: Dir(tb), bin: bin, user: unprivileged(tb), password: rand.Text(), settings: settings,
	}
	secret := WriteFile(tb, filepath.Join(p.dir, "password"), []byte(p.password))
	p.own(tb, p.dir)
	p.own(tb, secret)
	p.run(tb, "initdb", "-D", p.data(), "-U", postgresAdmin, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--locale=C", "--no-sync")
	p.Start(tb)
	p.admin(tb, "postgres", func(db *sql.DB) error {
		if _, err := db.ExecContext(tb.Context(), fmt.Sprintf("CREATE ROLE keybearer LOGIN PASSWORD '%s'", p.password)); err != nil {
			return err
		}
		return db.QueryRowContext(tb.Context(), "SELECT current_setting('server_version_num')::int").Scan(&p.version)
	})
	return p
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// own makes a file the server's.
func (p *Postgres) own(tb TB, path string) {
	tb.Helper()
	if p.user == nil {
		return
	}
	if err := os.Chown(path, int(p.user.Uid), int(p.user.Gid)); err != nil {
		tb.Fatalf("%v", err)
	}
}

// TLS restarts the server with a certificate of the authority for its address and these names. Connections without TLS are accepted as before.
func (p *Postgres) TLS(tb TB, ca *CA, names ...string) {
	tb.Helper()
	pem, err := os.ReadFile(ca.Files(tb, append([]string{p.Addr.Addr().String()}, names...)...))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	path := WriteFile(tb, filepath.Join(p.dir, "server.pem"), pem)
	p.own(tb, path)
	p.settings = append(p.settings, "ssl=on", "ssl_cert_file="+path, "ssl_key_file="+path)
	p.Stop(tb)
	p.Start(tb)
}

// postgresBin returns the directory of the server's programs, the newest of those that Debian keeps beside each other.
func postgresBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is right
	slices.SortFunc(found, func(a, b string) int {
		version := func(path string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // an odd name sorts first
			return n
		}
		return version(a) - version(b)
	})
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("PostgreSQL (initdb) is not installed; make setup installs what the tests need")
	}
	return filepath.Dir(path), nil
}

// unprivileged returns another user when the test runs as root: PostgreSQL refuses to.
func unprivileged(tb TB) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	tb.Fatalf("neither the user postgres nor nobody exists; make setup installs PostgreSQL, which makes the first")
	return nil
}

// run runs one of PostgreSQL's programs as its user and returns what it printed.
func (p *Postgres) run(tb TB, program string, args ...string) string {
	tb.Helper()
	r := Run(tb, Command{
		Path: filepath.Join(p.bin, program), Args: args, Dir: p.dir, User: p.user,
		Env: []string{"HOME=" + p.dir, "TZ=UTC", "LC_ALL=C"},
	}, "")
	if r.Code != 0 {
		tb.Fatalf("%s: exit code %d: %s%s", program, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Start starts the server again after Stop or Kill, on the same data and address, and waits until it answers.
func (p *Postgres) Start(tb TB) {
	tb.Helper()
	args := []string{"-D", p.data(), "-k", p.dir, "-h", p.Addr.Addr().String(), "-p", strconv.Itoa(int(p.Addr.Port()))}
	for _, s := range slices.Concat([]string{"max_connections=200", "shared_buffers=32MB", "log_min_messages=warning"}, p.settings) {
		args = append(args, "-c", s)
	}
	p.process = Start(tb, Command{
		Name: "postgres", Path: filepath.Join(p.bin, "postgres"), Args: args, Dir: p.dir, User: p.user, StopWith: syscall.SIGINT,
		Env: []string{"HOME=" + p.dir, "TZ=UTC", "LC_ALL=C"},
		Ready: func(ctx context.Context) error {
			db, err := sql.Open("pgx", p.dsn(postgresAdmin, "postgres"))
			if err != nil {
				return err
			}
			defer db.Close()
			return db.PingContext(ctx)
		},
	})
}

// Stop ends the server as its service does on a restart: connections are closed, what runs is rolled back.
func (p *Postgres) Stop(tb TB) {
	tb.Helper()
	p.process.Stop(tb)
}

// Kill ends the server and all that it has started with SIGKILL, as when the machine's memory runs out.
func (p *Postgres) Kill(tb TB) {
	tb.Helper()
	parent := p.process.PID()
	p.process.Signal(syscall.SIGSTOP) // so that it starts no other while they are counted
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", parent))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	p.process.Kill()
	for field := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			tb.Fatalf("child of postgres: %v", err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		Await(tb, "the end of a server process", 30*time.Second, func() error {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && !strings.Contains(string(stat), ") Z ") {
				return fmt.Errorf("%d is still there", pid)
			}
			return nil
		})
	}
}

// ReadOnly makes every transaction read-only from now on, or allows writing again, as on a server that has become a standby.
func (p *Postgres) ReadOnly(tb TB, on bool) {
	tb.Helper()
	want := map[bool]string{false: "off", true: "on"}[on]
	p.admin(tb, "postgres", func(db *sql.DB) error {
		if _, err := db.ExecContext(tb.Context(), "ALTER SYSTEM SET default_transaction_read_only = "+want); err != nil {
			return err
		}
		_, err := db.ExecContext(tb.Context(), "SELECT pg_reload_conf()")
		return err
	})
	Await(tb, "read-only "+want, 10*time.Second, func() error {
		db, err := sql.Open("pgx", p.dsn(postgresAdmin, "postgres"))
		if err != nil {
			return err
		}
		defer db.Close()
		var got string
		if err := db.QueryRowContext(tb.Context(), "SHOW default_transaction_read_only").Scan(&got); err != nil || got != want {
			return fmt.Errorf("it is %q, %v", got, err)
		}
		return nil
	})
}

// Database makes an empty database, which sorts as people do and not by bytes, and returns its DSN. The role is its owner and
// has no other right.
func (p *Postgres) Database(tb TB) string {
	tb.Helper()
	name := fmt.Sprintf("kb%d", p.database.Add(1))
	text := "CREATE DATABASE " + name + " OWNER keybearer TEMPLATE template0"
	if p.version >= 150000 {
		text += " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
	}
	p.admin(tb, "postgres", func(db *sql.DB) error {
		_, err := db.ExecContext(tb.Context(), text)
		return err
	})
	return p.dsn("keybearer", name)
}

// Admin returns the DSN of the superuser for the database of another DSN.
func (p *Postgres) Admin(tb TB, dsn string) string {
	tb.Helper()
	return p.dsn(postgresAdmin, strings.TrimPrefix(parseDSN(tb, dsn).Path, "/"))
}

// Dump returns the content of a database as SQL, as a backup has it.
func (p *Postgres) Dump(tb TB, dsn string) string {
	tb.Helper()
	return p.run(tb, "pg_dump", "--clean", "--if-exists", "--dbname", dsn)
}

// Restore replaces the content of a database by that of a dump, in one transaction.
func (p *Postgres) Restore(tb TB, dsn, dump string) {
	tb.Helper()
	for again := range 10 {
		r := Run(tb, Command{
			Path: filepath.Join(p.bin, "psql"), Args: []string{"-q", "-X", "-1", "-v", "ON_ERROR_STOP=1", "--dbname", dsn}, Dir: p.dir, User: p.user,
			Env: []string{"HOME=" + p.dir, "LC_ALL=C"},
		}, dump)
		switch {
		case r.Code == 0:
			return
		case again == 9 || !strings.Contains(r.Stderr, "deadlock detected"): // with servers that write meanwhile; nothing of it was done
			tb.Fatalf("restore: exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
}

// Via returns the DSN with another address in it, that of a [Cable] for example.
func Via(tb TB, dsn string, addr netip.AddrPort) string {
	tb.Helper()
	u := parseDSN(tb, dsn)
	u.Host = addr.String()
	return u.String()
}

func (p *Postgres) dsn(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, p.password), Host: p.Addr.String(), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func parseDSN(tb TB, dsn string) *url.URL {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatalf("DSN: %v", err)
	}
	return u
}

// admin lets do work as the superuser.
func (p *Postgres) admin(tb TB, database string, do func(*sql.DB) error) {
	tb.Helper()
	db, err := sql.Open("pgx", p.dsn(postgresAdmin, database))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	defer db.Close()
	if err := do(db); err != nil {
		tb.Fatalf("postgres: %v", err)
	}
}
