package sqlstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// What a DSN may not say is refused without a word of it, and what it leaves open is closed.
func TestWhatADSNMaySay(t *testing.T) {
	const prefer = "sslmode allow and prefer let anybody on the way switch encryption off"
	for dsn, want := range map[string]string{
		"":    "the DSN of the store is empty",
		"s3c": "the DSN of the store cannot be read",
		"postgres://kb:s3cret@db.example.com:port/kb":                            "the DSN of the store cannot be read",
		"postgres://kb:s3cret@db.example.com/kb?sslmode=s3cret":                  "the DSN of the store cannot be read",
		"postgres://kb:s3cret@db.example.com/kb?sslrootcert=/s3cret":             "the DSN of the store cannot be read",
		"postgres://kb:s3cret@db.example.com/kb?sslmode=prefer":                  prefer,
		"postgres://kb:s3cret@db.example.com/kb?sslmode=allow":                   prefer,
		"postgres://kb:s3cret@127.0.0.1,db.example.com/kb?sslmode=prefer":        prefer,
		"host=db.example.com password='a sslmode= s3cret'":                       prefer,
		"postgres://kb:s3cret@db.example.com/kb":                                 "",
		"host=db.example.com user=kb password=s3cret":                            "",
		"postgres://kb:s3cret@a.example.com,b.example.com:5433/kb":               "",
		"postgres://kb:s3cret@db.example.com/kb?sslmode=verify-ca":               "",
		"postgres://kb:s3cret@db.example.com/kb?sslmode=require":                 "",
		"postgres://kb:s3cret@db.example.com/kb?sslmode=disable":                 "",
		"postgres://kb:s3cret@127.0.0.1/kb":                                      "",
		"postgres://kb:s3cret@localhost/kb?sslmode=prefer":                       "",
		"host=/run/postgresql dbname=kb":                                         "",
		"postgres://kb:s3cret@[::1]:5433/kb?target_session_attrs=prefer-standby": "",
	} {
		err := sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn)}.Check()
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", dsn, err)
		case want != "" && (keybearer.CodeOf(err) != keybearer.Invalid || keybearer.AsError(err).Message() != want):
			t.Errorf("%s: got %v, want %q", dsn, err, want)
		case err != nil && strings.Contains(fmt.Sprintf("%v %+v %s", err, err, describe(err)), "s3c"):
			t.Errorf("%s: the error shows it: %v", dsn, err)
		}
	}
}

// Each way in which a server can be unusable is named with its fix, and no error or log line holds the password.
func TestWhatIsWrongWithTheServer(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	nobody := netip.AddrPortFrom(harness.Address(), 5432)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	admin := database(t, server.Admin(t, dsn))
	execute(t, admin, "CREATE ROLE reader LOGIN PASSWORD '"+password+"'")
	execute(t, admin, "CREATE ROLE busy LOGIN CONNECTION LIMIT 0 PASSWORD '"+password+"'")
	as := func(role string) string { return strings.Replace(dsn, "//keybearer:", "//"+role+":", 1) }
	at := "the database at " + server.Addr.String()
	for name, c := range map[string]struct{ dsn, detail, hint string }{
		"nobody there":       {harness.Via(t, dsn, nobody), "the database at " + nobody.String() + " cannot be reached", "start it, and check host"},
		"wrong password":     {strings.Replace(dsn, password, "wr0ng", 1), at + " refuses this role", "mend user and password"},
		"no such role":       {as("stranger"), at + " refuses this role", "mend user and password"},
		"no such database":   {dsn + "x", "", ""},
		"unknown option":     {dsn + "&pool_max_conns=7", at + " does not know an option that the DSN holds", "leave it out"},
		"no connection":      {as("busy"), at + " has no connection free", "raise its max_connections"},
		"no right to create": {as("reader"), "the role may not create tables in the database", "make it the owner"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no such database" {
				c.dsn = strings.Replace(dsn, u.Path, "/nowhere", 1)
				c.detail, c.hint = at+" does not exist", "create it"
			}
			var log strings.Builder
			_, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{
				DSN: keybearer.NewSecret(c.dsn), Node: "a", Wait: 300 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			e := keybearer.AsError(err)
			if e == nil || e.Code != keybearer.StoreUnavailable || e.Detail != c.detail || !strings.HasPrefix(e.Hint, c.hint) {
				t.Errorf("got %s (%v)", describe(err), err)
			}
			for _, secret := range []string{password, "wr0ng"} {
				if shown := fmt.Sprintf("%v %+v %#v %s", err, err, e.Err, &log); strings.Contains(shown, secret) {
					t.Errorf("it shows the password: %s", shown)
				}
			}
		})
	}
	if _, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn)}); keybearer.CodeOf(err) != keybearer.Invalid {
		t.Errorf("without a name: %v", err)
	}
}

// A password that was changed is taken for the next connection, without opening the store again.
func TestAPasswordIsChanged(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	admin := database(t, server.Admin(t, dsn))
	execute(t, admin, "CREATE ROLE login LOGIN PASSWORD 'first' IN ROLE keybearer")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	current := "first"
	with := func() keybearer.Secret {
		u.User = url.UserPassword("login", current)
		return keybearer.NewSecret(u.String())
	}
	execute(t, admin, "GRANT CREATE ON SCHEMA public TO keybearer")
	s := openPostgresConfig(t, sqlstore.PostgresConfig{DSN: with(), Node: "a", Renew: func() (keybearer.Secret, error) { return with(), nil }})
	addCaller(t, s, "billing")
	for range 3 { // now there is a connection that reads, and was used just now
		if _, err := s.Caller(t.Context(), "billing"); err != nil {
			t.Fatal(err)
		}
	}
	current = "second"
	execute(t, admin, "ALTER ROLE login PASSWORD 'second'")
	execute(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'login'")
	if _, err := s.Caller(t.Context(), "billing"); err != nil {
		t.Error(err)
	}
}

// TLS is verified as the DSN says, and doctor says how it is.
func TestTheConnectionIsEncrypted(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	ca, other := harness.NewCA(t), harness.NewCA(t)
	server.TLS(t, ca)
	dsn := server.Database(t)
	with := func(mode, root string) string {
		return strings.Replace(dsn, "sslmode=disable", "sslmode="+mode+"&sslrootcert="+url.QueryEscape(root), 1)
	}
	s := openPostgres(t, with("verify-full", ca.File), "a")
	var encrypted bool
	if err := database(t, with("verify-full", ca.File)).QueryRowContext(t.Context(),
		`SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'keybearer a'`).Scan(&encrypted); err != nil || !encrypted {
		t.Errorf("encrypted: %v, %v", encrypted, err)
	}
	addCaller(t, s, "billing")
	_, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(with("verify-full", other.File)), Node: "b"})
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of another authority: %v", err)
	}
}

// What doctor finds, on a server as it should be and on one that is not.
func TestDiagnosePostgres(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t)
	dsn := server.Database(t)
	cable := harness.StartCable(t, server.Addr)
	s := openPostgres(t, harness.Via(t, dsn, cable.Addr), "a")
	findings := func() (bad, all string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for _, f := range s.Diagnose(ctx) {
			line := f.Check + ": " + f.Detail
			if f.Err != nil {
				line += fmt.Sprintf(" [%s; %s; warn %v]", f.Err.Message(), f.Err.Advice(), f.Warn)
				bad += line + "\n"
			}
			all += line + "\n"
		}
		return bad, all
	}
	bad, all := findings()
	t.Log("as it should be:\n" + all)
	if bad != "" || strings.Count(all, "\n") != 8 {
		t.Errorf("on a good server:\n%s", all)
	}
	db := database(t, server.Admin(t, dsn))
	expect := func(want ...string) {
		t.Helper()
		bad, all := findings()
		if strings.Count(bad, "\n") != len(want) {
			t.Errorf("want %q, got\n%s", want, all)
		}
		for _, w := range want {
			if !strings.Contains(bad, w) {
				t.Errorf("%q is not in\n%s", w, all)
			}
		}
	}
	server.ReadOnly(t, true)
	expect("writing: transactions are read-only [the database is read-only;")
	server.ReadOnly(t, false)
	execute(t, db, "ALTER TABLE tokens OWNER TO postgres")
	execute(t, db, "GRANT SELECT, INSERT ON tokens TO keybearer")
	expect("rights of the role: keybearer lacks tokens (DELETE), tokens (UPDATE) [")
	execute(t, db, "ALTER TABLE tokens OWNER TO keybearer")
	execute(t, db, "UPDATE keybearer_schema SET version = version + 1")
	expect(fmt.Sprintf("tables: version %d [a newer version", schemas(t, "postgres")+1))
	execute(t, db, "UPDATE keybearer_schema SET version = version - 1")
	execute(t, db, "ALTER ROLE keybearer SUPERUSER")
	expect("rights of the role: keybearer is a superuser [who gets hold")
	execute(t, db, "ALTER ROLE keybearer NOSUPERUSER")
	execute(t, db, "ALTER SYSTEM SET full_page_writes = off")
	execute(t, db, "SELECT pg_reload_conf()")
	harness.Await(t, "the setting", 5*time.Second, func() error {
		if bad, _ := findings(); !strings.Contains(bad, "durability: fsync is on, full_page_writes is off [acknowledged changes") {
			return fmt.Errorf("%s", bad)
		}
		return nil
	})
	execute(t, db, "ALTER SYSTEM SET full_page_writes = on")
	execute(t, db, "SELECT pg_reload_conf()")
	cable.Cut()
	expect("database at " + cable.Addr.String() + ": cannot be asked [the database cannot be reached; start it")
}

// What the server leaves to chance is on disk all the same when it is acknowledged.
func TestCommitsAreSynchronous(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "synchronous_commit=off")
	dsn := server.Database(t)
	s := openPostgres(t, dsn, "a")
	db := database(t, server.Admin(t, dsn))
	for i := range 20 {
		addCaller(t, s, fmt.Sprint("app", i))
		var unflushed int64
		// Written by this commit, and not yet on disk. At the end of a page the place of the next record lies behind the header of the next page,
		// which is 24 bytes that nobody has written; no record is as short as that.
		err := db.QueryRowContext(t.Context(), "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn())").Scan(&unflushed)
		if err != nil || unflushed > 24 {
			t.Fatalf("commit %d: %d bytes are not on disk, %v", i, unflushed, err)
		}
	}
}
