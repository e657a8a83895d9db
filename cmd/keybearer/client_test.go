package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func TestServerConfig(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("kbo_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		env                    map[string]string
		socket, address, token string
	}{
		{map[string]string{"KEYBEARER_HOME": "/srv/kb"}, "/srv/kb/admin.sock", "", ""},
		{map[string]string{"KEYBEARER_HOME": "/srv/kb", "KEYBEARER_TOKEN_FILE": token}, "/srv/kb/admin.sock", "", ""},
		{map[string]string{"KEYBEARER_ADDR": "unix//run/kb.sock"}, "/run/kb.sock", "", ""},
		{map[string]string{"KEYBEARER_ADDR": "unix:/run/kb.sock"}, "/run/kb.sock", "", ""},
		{map[string]string{"KEYBEARER_ADDR": "unix:///run/kb.sock"}, "/run/kb.sock", "", ""},
		{map[string]string{"KEYBEARER_ADDR": " /run/kb.sock "}, "/run/kb.sock", "", ""},
		{map[string]string{"KEYBEARER_ADDR": "https://kb.example:9081", "KEYBEARER_TOKEN_FILE": token}, "", "https://kb.example:9081", "kbo_x"},
		{map[string]string{"KEYBEARER_ADDR": "https://kb.example:9081"}, "", "https://kb.example:9081", ""},
	} {
		c, _, _ := testCLI(asTable)
		c.getenv = func(name string) string { return x.env[name] }
		cfg, err := c.serverConfig()
		if err != nil || cfg.Socket != x.socket || cfg.Address != x.address || cfg.Token.Reveal() != x.token {
			t.Errorf("%v: %q %q, %v", x.env, cfg.Socket, cfg.Address, err)
		}
	}
}

// Commands reach the service of the machine when nothing else is named and nothing else was ever there, so that none of them surprises a server in production.
func TestTheServiceIsMeantByWhoHasNoServer(t *testing.T) {
	service, empty, own := t.TempDir(), t.TempDir(), t.TempDir()
	for _, file := range []string{filepath.Join(service, "admin.sock"), filepath.Join(own, "keybearer", "keybearer.db")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name, service, data, home, want string
	}{
		{"nothing of one's own", service, empty, "", filepath.Join(service, "admin.sock")},
		{"a server of one's own, that does not run", service, own, "", filepath.Join(own, "keybearer", "admin.sock")},
		{"a home that is named, and not there", service, empty, "/srv/kb", "/srv/kb/admin.sock"},
		{"no service", filepath.Join(service, "none"), empty, "", filepath.Join(empty, "keybearer", "admin.sock")},
	} {
		t.Setenv("XDG_DATA_HOME", x.data)
		t.Setenv("KEYBEARER_HOME", "")
		c, _, _ := testCLI(asTable)
		c.service = x.service
		c.getenv = func(name string) string { return map[string]string{"KEYBEARER_HOME": x.home}[name] }
		if cfg, err := c.serverConfig(); err != nil || cfg.Socket != x.want {
			t.Errorf("%s: %q, %v; want %q", x.name, cfg.Socket, err, x.want)
		}
	}
}

func TestAllReadsEveryPage(t *testing.T) {
	const total = 2500
	fetched := 0
	page := func(q admin.ListQuery) (admin.Page[int], error) {
		fetched++
		from := 0
		if q.Cursor != "" {
			if err := json.Unmarshal([]byte(q.Cursor), &from); err != nil {
				return admin.Page[int]{}, err
			}
		}
		var p admin.Page[int]
		for i := from; i < min(from+q.Limit, total); i++ {
			p.Items = append(p.Items, i)
		}
		if next := from + q.Limit; next < total {
			text, _ := json.Marshal(next)
			p.Next = string(text)
		}
		return p, nil
	}
	for limit, want := range map[int]struct{ items, pages int }{0: {2500, 3}, 1: {1, 1}, 1000: {1000, 1}, 1001: {1001, 2}, 9999: {2500, 3}} {
		fetched = 0
		items, err := all(limit, admin.ListQuery{}, page)
		if err != nil || len(items) != want.items || fetched != want.pages {
			t.Errorf("limit %d: %d items in %d pages, %v, want %+v", limit, len(items), fetched, err, want)
		}
		for i, item := range items {
			if i != item {
				t.Fatalf("limit %d: item %d is %d", limit, i, item)
			}
		}
	}
	broken := errors.New("gone")
	if _, err := all(0, admin.ListQuery{}, func(admin.ListQuery) (admin.Page[int], error) { return admin.Page[int]{}, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// A rotation that the server goes on with is waited for, and told of.
func TestRotateWaits(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	scope := admin.Scope{ID: "scp_a", Name: "docs", Key: &admin.ScopeKey{Generation: 1, Version: 2}}
	states := []*admin.Work{
		{Kind: keybearer.WorkRotate, Done: 1, Total: 3},
		{Kind: keybearer.WorkRotate, Done: 2, Total: 3, Waiting: keybearer.KeyringUnavailable},
		nil,
	}
	var asked []string
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		s := scope
		s.Work = states[min(len(asked), len(states))-1]
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	})}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()

	c, out, talk := testCLI(asTable)
	c.formatAsked = false
	c.getenv = func(name string) string { return map[string]string{"KEYBEARER_HOME": dir}[name] }
	if status := c.execute(t.Context(), []string{"scope", "rotate-key", "docs"}); status != 0 {
		t.Fatalf("exit code %d: %s", status, talk)
	}
	want := []string{"POST /api/v1/scopes/docs/key:rotate", "GET /api/v1/scopes/scp_a", "GET /api/v1/scopes/scp_a"}
	if d := cmp.Diff(want, asked); d != "" {
		t.Error(d)
	}
	if out.Len() > 0 || talk.String() != "rotate: 1 of 3 credentials\nrotated the key of scope docs to version 2\n" {
		t.Errorf("said %q and %q", out, talk)
	}
}

// A pipe that nobody writes to does not look like a hang.
func TestWaitingForTheSecretIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := testCLI(asTable)
		talk := &lockedBuffer{}
		c.err = talk
		in, pipe := io.Pipe()
		c.in = in
		done := make(chan secretInput)
		go func() {
			s, err := c.readSecret(keybearer.Bearer, "")
			if err != nil {
				t.Error(err)
			}
			done <- s
		}()
		time.Sleep(1 * time.Second)
		synctest.Wait()
		if talk.String() != "" {
			t.Errorf("too early: %s", talk)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !strings.Contains(talk.String(), "waiting for the secret on standard input") {
			t.Errorf("said %q", talk)
		}
		go func() {
			_, _ = io.WriteString(pipe, "s3cret\n")
			_ = pipe.Close()
		}()
		if s := <-done; s.Secret.Reveal() != "s3cret" {
			t.Error("another secret")
		}
	})
}

func TestSecretText(t *testing.T) {
	for _, x := range []struct {
		kind           keybearer.Kind
		text           string
		user, password string
		code           keybearer.Code
	}{
		{keybearer.Bearer, "s3cret", "", "s3cret", ""},
		{keybearer.Bearer, "s3cret\n", "", "s3cret", ""},
		{keybearer.Bearer, "s3cret\r\n", "", "s3cret", ""},
		{keybearer.Bearer, "s3cret\n\n", "", "s3cret\n", ""}, // the server refuses it
		{keybearer.Bearer, "", "", "", keybearer.SecretInvalid},
		{keybearer.Bearer, "\n", "", "", keybearer.SecretInvalid},
		{keybearer.Basic, "user\npass", "user", "pass", ""},
		{keybearer.Basic, "user\r\npass\r\n", "user", "pass", ""},
		{keybearer.Basic, "user\n", "", "", keybearer.SecretInvalid},
		{keybearer.Basic, "user:pass", "", "", keybearer.SecretInvalid},
		{keybearer.Basic, "\npass", "", "pass", ""}, // an empty username is the server's to judge
		{keybearer.Bearer, strings.Repeat("x", keybearer.MaxBundle), "", strings.Repeat("x", keybearer.MaxBundle), ""},
		{keybearer.Bearer, strings.Repeat("x", keybearer.MaxBundle+1), "", "", keybearer.SecretInvalid},
	} {
		c, _, _ := testCLI(asTable)
		c.in = strings.NewReader(x.text)
		got, err := c.readSecret(x.kind, "")
		if keybearer.CodeOf(err) != x.code {
			t.Errorf("%s %.20q: %v, want %q", x.kind, x.text, err, x.code)
			continue
		}
		if got.Username != x.user || got.Secret.Reveal() != x.password {
			t.Errorf("%s %.20q: another secret", x.kind, x.text)
		}
	}
}

// Completion asks the server for a second at most, and is silent about what goes wrong.
func TestCompletionIsSilent(t *testing.T) {
	c, _, talk := testCLI(asTable)
	c.getenv = func(string) string { return t.TempDir() }
	names, _ := c.names("", func(ctx context.Context, _ *admin.Client) ([]string, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Second {
			t.Error("no deadline")
		}
		return []string{"half"}, errors.New("gone")
	})
	if len(names) > 0 || talk.Len() > 0 {
		t.Errorf("%v %s", names, talk)
	}
	names, _ = c.names("b", func(context.Context, *admin.Client) ([]string, error) { return []string{"aa", "ba", "b"}, nil })
	if d := cmp.Diff([]string{"ba", "b"}, names); d != "" {
		t.Error(d)
	}
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
