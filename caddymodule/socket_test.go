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

func TestAdminSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "admin.sock")
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := peer(r)
		if p == nil || int(p.UID) != os.Getuid() || int(p.PID) != os.Getpid() {
			t.Errorf("peer is %+v", p)
		}
	})
	first, err := openAdminSocket(path, hello, make(chan struct{}), logs.logger())
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
	second, err := openAdminSocket(path, hello, make(chan struct{}), logs.logger())
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
