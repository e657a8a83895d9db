package admin_test

import (
	"context"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// TestMain keeps the files in memory where it can.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}

// lab is the API over the real embedded parts: on a unix socket for peers and on TCP for tokens.
type lab struct {
	*admin.Client // through the socket, as the user who runs the tests
	t             *testing.T
	custody       *custody.Custody
	store         *sqlstore.Store
	keyring       keybearer.Keyring
	log           *audit.Log
	probed        []custody.Probe // what was sent through the proxy
	socket        string
	serverLog     string                     // path of what the handlers log
	peer          *keybearer.PeerCredentials // of whoever comes through the socket
	peers, tokens http.Handler
	tcp           *httptest.Server
}

// trail reads the audit log back.
type trail struct{ log *audit.Log }

func (a trail) Backwards(ctx context.Context, visit func(*keybearer.Event) bool) error {
	return audit.Backwards(ctx, a.log.Path(), visit)
}

func (a trail) Subscribe(ctx context.Context, keep func(*keybearer.Event) bool) iter.Seq[keybearer.Event] {
	entries := a.log.Subscribe(ctx, 0, keep)
	return func(yield func(keybearer.Event) bool) {
		for e := range entries {
			if !yield(e.Event) {
				return
			}
		}
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kb")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir, 0o700))
	l := &lab{t: t, socket: filepath.Join(dir, "admin.sock"), peer: &keybearer.PeerCredentials{UID: uint32(os.Geteuid())}}
	var err error
	l.store, err = sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "kb.db"))
	must(err)
	t.Cleanup(func() { _ = l.store.Close() })
	l.keyring = openKeyring(t, filepath.Join(dir, "keyring.key"))
	l.log, err = audit.OpenFile(filepath.Join(dir, "audit.jsonl"), audit.Options{})
	must(err)
	t.Cleanup(func() { _ = l.log.Close() })
	l.custody, err = custody.New(custody.Config{Store: l.store, Keyring: l.keyring, Auditor: l.log, Ledger: l.store})
	must(err)
	t.Cleanup(func() { _ = l.custody.Close() })
	must(l.custody.Resume(t.Context()))

	l.serverLog = filepath.Join(dir, "server.log")
	out, err := os.Create(l.serverLog)
	must(err)
	t.Cleanup(func() { _ = out.Close() })
	cfg := admin.Config{Custody: l.custody, Audit: trail{l.log}, Logger: slog.New(slog.NewJSONHandler(out, nil))}
	cfg.Authenticate = admin.Peers(func(*http.Request) *keybearer.PeerCredentials { return l.peer })
	cfg.Probe = l.probe
	cfg.SetUp = l.setUp
	l.peers = admin.New(cfg)
	cfg.SetUp = nil // as it is everywhere but on the admin socket
	cfg.Authenticate = admin.Tokens(l.custody)
	l.tokens = admin.New(cfg)

	listener, err := net.Listen("unix", l.socket)
	must(err)
	unix := &http.Server{Handler: l.peers}
	go func() { _ = unix.Serve(listener) }()
	t.Cleanup(func() { _ = unix.Close() })
	l.tcp = httptest.NewServer(l.tokens)
	t.Cleanup(l.tcp.Close)
	l.Client, err = admin.NewClient(admin.ClientConfig{Socket: l.socket})
	must(err)
	t.Cleanup(l.Client.Close)
	return l
}

// setUp makes a link that leads nowhere, as long as there is no operator: where it leads is another package's.
func (l *lab) setUp(ctx context.Context, ask custody.Ask) (keybearer.Secret, time.Time, error) {
	page, err := l.custody.Operators(ctx, ask, keybearer.Query{})
	if err == nil && len(page.Items) > 0 {
		err = keybearer.NewError(keybearer.Conflict, "there is an operator")
	}
	return keybearer.NewSecret("http://127.0.0.1:9081/setup"), time.Now().Add(time.Minute).UTC(), err
}

// probe is in the place of the proxy, whose answers are another package's: it refuses evil.example.com.
func (l *lab) probe(_ context.Context, p custody.Probe) (custody.Probed, error) {
	l.probed = append(l.probed, p)
	if strings.Contains(p.URL, "evil.example.com") {
		e := keybearer.NewError(keybearer.DestinationNotAllowed, "the destination is on no rule").WithHint("add it")
		return custody.Probed{RequestID: "req_2", Status: 403, Refusal: e, Bytes: 90, Duration: time.Millisecond}, nil
	}
	return custody.Probed{RequestID: "req_1", Status: 204, Fields: []string{"Date", "Server"}, Cut: true, Bytes: 1 << 20, Duration: 1500 * time.Millisecond}, nil
}

func openKeyring(t *testing.T, path string) keybearer.Keyring {
	t.Helper()
	k, err := localkeys.Open(localkeys.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

// with is a client that presents the token.
func (l *lab) with(token admin.Plaintext) *admin.Client {
	l.t.Helper()
	c, err := admin.NewClient(admin.ClientConfig{Address: l.tcp.URL, Token: token.Secret, Timeout: time.Minute})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

// docs makes the scope docs with a key and the credential docs/crm.
func (l *lab) docs() admin.Credential {
	l.t.Helper()
	ctx := l.t.Context()
	if _, err := l.CreateScope(ctx, admin.NewScope{Name: "docs"}); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.GenerateKey(ctx, "docs"); err != nil {
		l.t.Fatal(err)
	}
	n := admin.NewCredential{Name: "crm", Kind: keybearer.Bearer, Destinations: []admin.Destination{{Rule: "api.example.com"}}}
	n.Secret = admin.NewPlaintext("s3cret")
	c, err := l.CreateCredential(ctx, "docs", n)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// everything makes docs/crm, the caller app and the operator ada, who holds use on it.
func (l *lab) everything() {
	l.t.Helper()
	ctx := l.t.Context()
	l.docs()
	if _, err := l.CreateCaller(ctx, admin.NewCaller{Name: "app", Scopes: []string{"docs"}}); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.CreateOperator(ctx, admin.NewOperator{Name: "ada"}); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.SetGrant(ctx, crm, "user:ada", keybearer.Use); err != nil {
		l.t.Fatal(err)
	}
}

// dump is all that the lists show.
func (l *lab) dump() string {
	l.t.Helper()
	var b strings.Builder
	for _, path := range []string{"scopes", "scopes/-/credentials", "callers", "operators"} {
		b.WriteString(text(do(l.peers, "GET", "/api/v1/"+path+"?deleted=true", "")))
	}
	return regexp.MustCompile(`Keybearer-Request-Id: \S+`).ReplaceAllString(b.String(), "")
}

var crm = keybearer.Ref{Scope: "docs", Name: "crm"}

func wantCode(t *testing.T, err error, want keybearer.Code) {
	t.Helper()
	if got := keybearer.CodeOf(err); got != want {
		t.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}
