package caddymodule

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestMain lets the test binary play another process that serves a socket.
func TestMain(m *testing.M) {
	if path := os.Getenv("KEYBEARER_TEST_SERVE"); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			os.Exit(3)
		}
		os.Stdout.WriteString("ready\n")
		for {
			if _, err := l.Accept(); err != nil {
				os.Exit(4)
			}
		}
	}
	linger, moving = 0, 10*time.Millisecond
	os.Exit(m.Run())
}

// serveElsewhere has another process serve a socket; kill ends it without a chance to tidy up.
func serveElsewhere(t *testing.T, path string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KEYBEARER_TEST_SERVE="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return kill
}

func TestVacant(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	if err := vacant(path); err != nil {
		t.Errorf("nothing there: %v", err)
	}
	kill := serveElsewhere(t, path)
	if err := vacant(path); err == nil || !strings.Contains(err.Error(), "serves "+path+": stop it") {
		t.Errorf("served by another process: %v", err)
	}
	kill()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the dead socket is gone: %v", err)
	}
	if err := vacant(path); err != nil {
		t.Errorf("dead socket: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := vacant(file); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file: %v", err)
	}
}

// arrived is the lease of a configuration that takes connections.
func arrived() *lease {
	l := newLease()
	l.arrive()
	return l
}

// Of those that share a socket only the configuration that has arrived and does not leave takes connections.
func TestClaims(t *testing.T) {
	address, err := caddy.ParseNetworkAddress("unix/" + filepath.Join(t.TempDir(), "x.sock"))
	if err != nil {
		t.Fatal(err)
	}
	claim := func(l *lease) (net.Listener, chan bool) {
		c, err := claimSocket(t.Context(), address, 0, net.ListenConfig{}, l)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		accepted := make(chan bool, 100)
		go func() {
			for {
				conn, err := c.Accept()
				accepted <- err == nil
				if err != nil {
					return
				}
				_ = conn.Close()
			}
		}()
		return c, accepted
	}
	connect := func() {
		t.Helper()
		conn, err := net.Dial("unix", address.Host)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	old, next := arrived(), newLease()
	_, byOld := claim(old)
	nextClaim, byNext := claim(next)
	failing, byFailing := claim(newLease())
	for range 20 {
		connect()
		if !<-byOld {
			t.Fatal("the old one takes none")
		}
	}
	_ = failing.Close()
	if <-byFailing {
		t.Error("one that never arrived took a connection")
	}
	next.arrive()
	old.leave()
	for range 20 {
		connect()
		if !<-byNext {
			t.Fatal("the next one takes none")
		}
	}
	_ = nextClaim.Close()
	if <-byNext || len(byOld) > 0 {
		t.Error("taken after the end")
	}
	if n := old.taking.Load() + next.taking.Load(); n != 0 {
		t.Errorf("%d connections are on the way for ever", n)
	}
}

func TestAdminSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "admin.sock")
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := peer(r)
		if p == nil || int(p.UID) != os.Getuid() || int(p.PID) != os.Getpid() {
			t.Errorf("peer is %+v", p)
		}
	})
	first, err := openAdminSocket(path, hello, arrived(), logs.logger())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	tr := transport("unix/" + path)
	tr.Proxy, tr.DisableKeepAlives = nil, true
	client := http.Client{Transport: tr}
	get := func() {
		t.Helper()
		res, err := client.Get("http://keybearer/")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	get()
	// As on a reload: the second opens before the first closes.
	second, err := openAdminSocket(path, hello, arrived(), logs.logger())
	if err != nil {
		t.Fatal(err)
	}
	first.close()
	get()
	second.close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays behind: %v", err)
	}
}
