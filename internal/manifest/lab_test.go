package manifest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/manifest"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// TestMain keeps the files in memory where it can.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// lab is a server over the real embedded parts, reached through its socket by an instance admin.
type lab struct {
	*admin.Client
	store   *sqlstore.Store
	log     *audit.Log
	socket  string
	changes atomic.Int32 // requests that could have changed something
	close   func()
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := openLab(t, t.TempDir())
	t.Cleanup(l.close)
	return l
}

func openLab(t failer, dir string) *lab {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	dir = filepath.Join(dir, "kb")
	must(os.Mkdir(dir, 0o700))
	l := &lab{socket: filepath.Join(dir, "admin.sock")}
	var err error
	l.store, err = sqlstore.OpenSQLite(context.Background(), filepath.Join(dir, "kb.db"))
	must(err)
	keyring, err := localkeys.Open(localkeys.Config{Path: filepath.Join(dir, "keyring.key")})
	must(err)
	l.log, err = audit.OpenFile(filepath.Join(dir, "audit.jsonl"), audit.Options{})
	must(err)
	c, err := custody.New(custody.Config{Store: l.store, Keyring: keyring, Auditor: l.log, Ledger: l.store})
	must(err)
	must(c.Resume(context.Background()))
	api := admin.New(admin.Config{Custody: c, Authenticate: func(r *http.Request) (custody.Actor, error) {
		if r.Header.Get("Authorization") != "" {
			return admin.Tokens(c)(r)
		}
		return admin.Peers(func(*http.Request) *keybearer.PeerCredentials {
			return &keybearer.PeerCredentials{UID: uint32(os.Geteuid())}
		})(r)
	}})
	listener, err := net.Listen("unix", l.socket)
	must(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			l.changes.Add(1)
		}
		api.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	l.Client, err = admin.NewClient(admin.ClientConfig{Socket: l.socket})
	must(err)
	l.close = sync.OnceFunc(func() {
		l.Client.Close()
		_ = server.Close()
		_ = c.Close()
		_ = l.log.Close()
		_ = keyring.Close()
		_ = l.store.Close()
	})
	return l
}

// with is a client that presents the token.
func (l *lab) with(t *testing.T, token admin.Plaintext) *admin.Client {
	t.Helper()
	c, err := admin.NewClient(admin.ClientConfig{Socket: l.socket, Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// environment is where references are read.
var environment = map[string]string{"TOKEN": canary, "USER_": "ada", "PASSWORD": canary}

const canary = "kanar1envogel-TWEET"

func options() manifest.Options {
	return manifest.Options{Getenv: func(name string) string { return environment[name] }, Now: time.Now}
}

func read(t failer, text string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Read([]string{"-"}, strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

func plan(client *admin.Client, m *manifest.Manifest, o manifest.Options) (*manifest.Plan, error) {
	state, err := manifest.Load(context.Background(), client, m.Select())
	if err != nil {
		return nil, err
	}
	return manifest.NewPlan(m, state, o)
}

// apply makes the server's records what the text says and returns the steps.
func apply(t failer, client *admin.Client, text string, o manifest.Options) []string {
	t.Helper()
	p, err := plan(client, read(t, text), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var done []string
	if err := p.Apply(context.Background(), client, func(s string) { done = append(done, s) }); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return done
}

// export returns what the server has as JSON, which is YAML.
func export(t failer, client *admin.Client, scopes ...string) string {
	t.Helper()
	doc, err := manifest.Export(context.Background(), client, scopes)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return text(t, doc)
}

func text(t failer, doc *manifest.Document) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(doc); err != nil {
		t.Fatalf("%v", err)
	}
	return b.String()
}

func wantCode(t failer, err error, want keybearer.Code) {
	t.Helper()
	if got := keybearer.CodeOf(err); got != want {
		t.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}
