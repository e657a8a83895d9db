package harness_test

import (
	"database/sql"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// What PostgreSQL has acknowledged is there after a stop and after SIGKILL; it can be read-only, dumped and restored.
func TestPostgres(t *testing.T) {
	p := harness.StartPostgres(t)
	dsn := p.Database(t)
	db := open(t, dsn)
	do := func(text string) error {
		_, err := db.ExecContext(t.Context(), text)
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		t.Helper()
		must(db.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n))
		return n
	}
	must(do("CREATE TABLE t (a text)"))
	dump := p.Dump(t, dsn)
	for i, end := range []func(){func() { p.Stop(t) }, func() { p.Kill(t) }} {
		must(do("INSERT INTO t VALUES ('a')"))
		end()
		if err := db.PingContext(t.Context()); err == nil {
			t.Error("it answers after its end")
		}
		p.Start(t)
		if n := count(); n != i+1 {
			t.Errorf("%d rows after start %d", n, i+1)
		}
	}
	p.ReadOnly(t, true)
	if err := do("INSERT INTO t VALUES ('a')"); err == nil || !strings.Contains(err.Error(), "25006") {
		t.Errorf("a write while read-only: %v", err)
	}
	p.ReadOnly(t, false)
	must(do("INSERT INTO t VALUES ('a')"))
	p.Restore(t, dsn, dump)
	if n := count(); n != 0 {
		t.Errorf("%d rows after the restore", n)
	}
	if other := p.Database(t); other == dsn {
		t.Error("one database was given twice")
	}
	wrong := open(t, strings.Replace(dsn, "keybearer:", "keybearer:x", 1))
	if err := wrong.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("a wrong password: %v", err)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestACableCarriesStallsAndIsCut(t *testing.T) {
	ln, err := net.Listen("tcp", harness.Address().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn) }()
		}
	}()
	cable := harness.StartCable(t, ln.Addr().(*net.TCPAddr).AddrPort())
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", cable.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	echo := func(conn net.Conn, within time.Duration) error {
		if _, err := io.WriteString(conn, "hello"); err != nil {
			return err
		}
		return hear(conn, within)
	}
	conn := dial()
	if err := echo(conn, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if n := cable.Bytes(); n < 5 {
		t.Errorf("%d bytes counted", n)
	}
	cable.Stall()
	second := dial()
	for _, c := range []net.Conn{conn, second} {
		if err, ok := echo(c, 50*time.Millisecond).(net.Error); !ok || !err.Timeout() {
			t.Errorf("stalled: %v", err)
		}
	}
	cable.Mend(t)
	for _, c := range []net.Conn{conn, second} {
		if err := hear(c, 5*time.Second); err != nil {
			t.Errorf("mended: %v", err)
		}
	}
	cable.Stall()
	cable.Cut()
	if err := hear(conn, 5*time.Second); err == nil {
		t.Error("a connection outlived the cut")
	}
	if _, err := net.Dial("tcp", cable.Addr.String()); err == nil {
		t.Error("a cut cable accepted a connection")
	}
	cable.Mend(t)
	if err := echo(dial(), 5*time.Second); err != nil {
		t.Errorf("mended after the cut: %v", err)
	}
	if n := cable.Connections(); n != 3 {
		t.Errorf("%d connections counted", n)
	}
}

func hear(conn net.Conn, within time.Duration) error {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if string(b) != "hello" {
		return fmt.Errorf("heard %q", b)
	}
	return nil
}
