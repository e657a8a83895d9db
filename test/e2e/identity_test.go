package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// house is a world whose callers "billing" and "shop" prove themselves in every way.
type house struct {
	*world
	api     *harness.Recorder
	clients *harness.CA // of mapped subjects
	spire   *harness.CA // of the trust domain example.org
	bundle  string      // its file, as SPIRE would write it
	revoked string      // file of the clients' revocation list
	tls     netip.AddrPort
	socket  string // any app's
	fixed   string // billing's own
	n       int
}

const svid = "spiffe://example.org/ns/shop/sa/billing"

// Users that exist nowhere but in the kernel's eyes.
var (
	billingUser  = &syscall.Credential{Uid: 47101, Gid: 47101, NoSetGroups: true}
	shopGroup    = &syscall.Credential{Uid: 47109, Gid: 47102, NoSetGroups: true}
	shopInGroups = &syscall.Credential{Uid: 47109, Gid: 47109, Groups: []uint32{47102}}
	bothOfThem   = &syscall.Credential{Uid: 47101, Gid: 47102, NoSetGroups: true}
	anybody      = &syscall.Credential{Uid: 47109, Gid: 47109, NoSetGroups: true}
)

// newHouse starts a server. mode is Caddy's for client certificates, protocols are those of its sites, and options are further ones.
func newHouse(t *testing.T, mode, protocols string, options ...string) *house {
	t.Helper()
	h := &house{world: prepareWorld(t), clients: harness.NewCA(t), spire: harness.NewCA(t), tls: netip.AddrPortFrom(harness.Address(), 9443)}
	dir := harness.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // other users connect to the sockets in it
		t.Fatal(err)
	}
	h.socket, h.fixed, h.bundle = filepath.Join(dir, "apps.sock"), filepath.Join(dir, "billing.sock"), filepath.Join(dir, "bundle.pem")
	h.write(h.bundle, h.spire.File)
	h.revoked = h.clients.RevokeFile(t)
	identities := fmt.Sprintf(`identity mtls {
	trust %s
	spiffe example.org %s
	map %s app:billing
	map dns:billing.internal app:billing
	map dns:shop.internal app:shop
	revoked %s
}
identity unix_peer {
	uid 47101 app:billing
	gid 47102 app:shop
}`, h.clients.File, h.bundle, svid, h.revoked)
	pool := ""
	if strings.Contains(mode, "verif") {
		pool = "\n\t\t\ttrust_pool file " + h.clients.File
	}
	pair := h.ca.Files(t, "keybearer.internal", h.tls.Addr().String())
	h.Configure(t, h.options(append(options, identities)...), fmt.Sprintf(`https://:9443 {
	bind %[1]s
	tls %[2]s %[2]s {
		client_auth {
			%[3]s
		}
	}
	keybearer
}
http:// {
	bind unix/%[4]s|0666
	keybearer
}
https://:9444 {
	bind unix/%[4]s.tls|0666
	tls %[2]s %[2]s
	keybearer
}
http://:9085 {
	bind unix/%[5]s|0666
	keybearer {
		caller app:billing
	}
}`, h.tls.Addr(), pair, "mode "+mode+pool, h.socket, h.fixed))
	text, err := os.ReadFile(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "protocols h1 h2c", "protocols "+protocols, 1)
	harness.WriteFile(t, h.Config, []byte(changed))
	h.start()
	h.scope("docs")
	h.credential("docs/crm", "bearer", private("api.example.com")...)
	for _, name := range []string{"billing", "shop"} {
		h.caller(name, "docs")
		h.grant("docs/crm", name, "use")
	}
	h.api = h.recorder("api.example.com", nil)
	return h
}

// write puts the PEM files together under a name, as one who replaces a file does.
func (h *house) write(path string, files ...string) {
	h.t.Helper()
	var all []byte
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, text...)
	}
	harness.WriteFile(h.t, path+".new", all)
	if err := os.Rename(path+".new", path); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) client(ca *harness.CA, edit func(*x509.Certificate), names ...string) string {
	h.t.Helper()
	return harness.PairFile(h.t, ca.Client(h.t, func(c *x509.Certificate) {
		c.DNSNames = names
		if edit != nil {
			edit(c)
		}
	}))
}

// how is a way to send a request.
type how struct {
	cert   string // file of a client certificate and its key; over TLS
	tls    bool   // over TLS without one
	gate   string // "1.1" or "2": gateway mode in that version of HTTP over TLS; "": proxy mode
	tunnel bool
	socket string // over a unix socket, in gateway mode
	user   *syscall.Credential
	token  string
	fields []string
}

// who sends a request with curl and returns who was proven: the caller's name in the audit log, or the code of the refusal.
func (h *house) who(t *testing.T, w how) string {
	t.Helper()
	h.n++
	id := fmt.Sprintf("identity-%d", h.n)
	args := []string{"-sS", "--max-time", "30", "-w", "\n%{http_code} %header{keybearer-request-id} %{http_version}", "-H", "Keybearer-Credential: docs/crm", "-H", harness.IDHeader + ": " + id}
	for _, f := range w.fields {
		args = append(args, "-H", f)
	}
	proof := "Proxy-Authorization: Bearer "
	switch {
	case strings.HasSuffix(w.socket, ".tls"):
		args = append(args, "--unix-socket", w.socket, "--insecure", "--http1.1", "-H", "Keybearer-Destination: https://api.example.com", "https://keybearer.internal/hook")
	case w.socket != "":
		args = append(args, "--unix-socket", w.socket, "-H", "Keybearer-Destination: https://api.example.com", "http://localhost/hook")
	case w.gate != "":
		args = append(args, "--http"+w.gate, "--cacert", h.ca.File, "-H", "Keybearer-Destination: https://api.example.com", "https://"+h.tls.String()+"/hook")
		if w.cert != "" {
			args = append(args, "--cert", w.cert, "--key", w.cert)
		}
	case w.tls || w.cert != "":
		args = append(args, "-x", "https://"+h.tls.String(), "--proxy-cacert", h.ca.File, "http://api.example.com/hook")
		if w.cert != "" {
			args = append(args, "--proxy-cert", w.cert, "--proxy-key", w.cert)
		}
		if w.tunnel {
			args = append(args, "--proxytunnel")
			if w.token != "" {
				args = append(args, "--proxy-header", proof+w.token)
				w.token = ""
			}
		}
	default:
		args = append(args, "-x", "http://"+h.Proxy.String(), "http://api.example.com/hook")
	}
	if w.token != "" {
		args = append(args, "-H", proof+w.token)
	}
	r := harness.Run(t, harness.Command{Path: "curl", Args: args, User: w.user}, "")
	body, last, _ := cutLast(r.Stdout, "\n")
	var status int
	var request, version string
	if _, err := fmt.Sscan(last, &status, &request, &version); err != nil {
		return fmt.Sprintf("no answer: %s", strings.TrimSpace(r.Stderr))
	}
	if w.gate == "2" && version != "2" {
		t.Errorf("HTTP/%s was spoken", version)
	}
	if status != 200 {
		var p struct{ Code string }
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			return fmt.Sprintf("%d %q", status, body)
		}
		return p.Code
	}
	h.right(t, h.api.One(t, id), "docs/crm")
	return h.callerOf(t, request)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// callerOf returns who used a credential in the request, as the audit log tells it.
func (h *house) callerOf(t *testing.T, request string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Home, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e keybearer.Event
		if err := json.Unmarshal([]byte(line), &e); err == nil && e.ID == request && e.Phase == keybearer.Intent {
			return e.Caller
		}
	}
	t.Errorf("the audit log has no intent of %s", request)
	return ""
}

const unauthenticated = string(keybearer.CallerUnauthenticated)

// Whatever Caddy made of a certificate, also where it looked at nothing, it proves its caller if it is good, and nobody otherwise.
func TestClientCertificates(t *testing.T) {
	for _, mode := range []string{"request", "require", "verify_if_given", "require_and_verify"} {
		t.Run(mode, func(t *testing.T) {
			h := newHouse(t, mode, "h1 h2 h2c")
			billing := h.client(h.clients, nil, "billing.internal")
			for name, w := range map[string]how{
				"proxy mode": {cert: billing}, "in a tunnel": {cert: billing, tunnel: true}, "gateway mode": {cert: billing, gate: "1.1"}, "HTTP/2": {cert: billing, gate: "2"},
			} {
				if got := h.who(t, w); got != "billing" {
					t.Errorf("%s: %s", name, got)
				}
			}
			strict := mode == "verify_if_given" || mode == "require_and_verify" // then Caddy ends the handshake
			late := func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			}
			revoked := h.clients.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} })
			h.write(h.revoked, h.clients.RevokeFile(t, revoked))
			harness.Await(t, "the revocation list counts", 20*time.Second, func() error {
				if got := h.who(t, how{cert: harness.PairFile(t, revoked)}); got != unauthenticated {
					return fmt.Errorf("%s", got)
				}
				return nil
			})
			for name, c := range map[string]struct {
				cert   string
				strict bool // Caddy refuses it too, where it is asked to
			}{
				"wrong authority": {h.client(harness.NewCA(t), nil, "billing.internal"), true},
				"expired":         {h.client(h.clients, late, "billing.internal"), true},
				"for servers":     {h.client(h.clients, serverUse, "billing.internal"), true},
				"unmapped":        {h.client(h.clients, nil, "spy.internal"), false},
				"two callers":     {h.client(h.clients, nil, "billing.internal", "shop.internal"), false},
				"revoked":         {harness.PairFile(t, revoked), false},
			} {
				for _, gate := range []string{"", "1.1", "2"} {
					got := h.who(t, how{cert: c.cert, gate: gate, token: map[bool]string{true: h.tokens["billing"]}[gate == "1.1"]}) // the token helps nothing
					if got != unauthenticated && !(strict && c.strict && strings.HasPrefix(got, "no answer")) {
						t.Errorf("%s, %q: %s", name, gate, got)
					}
				}
			}
			without := h.who(t, how{tls: true, fields: []string{"X-Forwarded-Client-Cert: Subject=\"CN=billing\"", "X-SSL-Client-S-DN: CN=billing"}})
			if required := strings.HasPrefix(mode, "require"); without != unauthenticated && !(required && strings.HasPrefix(without, "no answer")) {
				t.Errorf("without: %s", without)
			}
			for caller, want := range map[string]string{"billing": "billing", "shop": unauthenticated} {
				if got := h.who(t, how{cert: billing, token: h.tokens[caller]}); got != want {
					t.Errorf("with %s's token: %s", caller, got)
				}
			}
			if got := h.who(t, how{cert: billing, tunnel: true, token: h.tokens["shop"]}); got == "billing" || got == "shop" {
				t.Errorf("in a tunnel with another's token: %s", got)
			}
			if got := h.who(t, how{cert: billing, token: "kb_wrong"}); got != unauthenticated {
				t.Errorf("with a wrong token: %s", got)
			}
			h.must("", "caller", "disable", "billing")
			if got := h.who(t, how{cert: billing}); got != unauthenticated {
				t.Errorf("disabled: %s", got)
			}
		})
	}
}

func serverUse(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

// SPIRE renews what it vouches with. No restart, no reload; what the old authority vouched for ends with it.
func TestSPIFFEBundlesAreFollowed(t *testing.T) {
	h := newHouse(t, "request", "h1 h2 h2c")
	next := harness.NewCA(t)
	old, renewed := harness.PairFile(t, h.spire.SVID(t, svid)), harness.PairFile(t, next.SVID(t, svid))
	becomes := func(what, wantOld, wantRenewed string) {
		t.Helper()
		harness.Await(t, what, 20*time.Second, func() error {
			if a, b := h.who(t, how{cert: old}), h.who(t, how{cert: renewed, gate: "2"}); a != wantOld || b != wantRenewed {
				return fmt.Errorf("old: %s, renewed: %s", a, b)
			}
			return nil
		})
	}
	becomes("at first", "billing", unauthenticated)
	h.write(h.bundle, h.spire.File, next.File)
	becomes("both", "billing", "billing")
	h.write(h.bundle, next.File)
	becomes("the renewed alone", unauthenticated, "billing")
	for name, cert := range map[string]tls.Certificate{
		"id by the roots of subjects": h.clients.SVID(t, svid),
		"another id":                  next.SVID(t, svid+"/x"),
		"another trust domain":        next.SVID(t, "spiffe://evil.example/ns/shop/sa/billing"),
		"two ids":                     next.Client(t, func(c *x509.Certificate) { c.URIs = harness.URIs(t, svid, "spiffe://example.org/other") }),
		"a subject by the bundle":     next.Client(t, func(c *x509.Certificate) { c.DNSNames = []string{"billing.internal"} }),
	} {
		if got := h.who(t, how{cert: harness.PairFile(t, cert)}); got != unauthenticated {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// The kernel says who connects to a unix socket, with the protocols that the repository's Caddyfile has and with HTTP/1.1 alone.
func TestUnixPeers(t *testing.T) {
	for _, protocols := range []string{"h1 h2c", "h1"} {
		t.Run(protocols, func(t *testing.T) {
			h := newHouse(t, "request", protocols)
			forged := []string{"X-Real-IP: 127.0.0.1", "X-Remote-User: billing", "Forwarded: for=billing", "X-Forwarded-For: 10.0.0.1"}
			for name, c := range map[string]struct {
				w    how
				want string
			}{
				"by uid":                        {how{socket: h.socket, user: billingUser}, "billing"},
				"by gid":                        {how{socket: h.socket, user: shopGroup}, "shop"},
				"by a further group":            {how{socket: h.socket, user: shopInGroups}, unauthenticated},
				"uid and gid of two callers":    {how{socket: h.socket, user: bothOfThem}, unauthenticated},
				"anybody":                       {how{socket: h.socket, user: anybody, fields: forged}, unauthenticated},
				"root":                          {how{socket: h.socket, fields: forged}, unauthenticated},
				"anybody with a token":          {how{socket: h.socket, user: anybody, token: h.tokens["shop"]}, "shop"},
				"its own token":                 {how{socket: h.socket, user: billingUser, token: h.tokens["billing"]}, "billing"},
				"another's token":               {how{socket: h.socket, user: billingUser, token: h.tokens["shop"]}, unauthenticated},
				"a wrong token":                 {how{socket: h.socket, user: billingUser, token: "kb_wrong"}, unauthenticated},
				"fixed":                         {how{socket: h.fixed, user: anybody}, "billing"},
				"fixed, and of the same caller": {how{socket: h.fixed, user: billingUser}, "billing"},
				"fixed, and of another":         {how{socket: h.fixed, user: shopGroup}, unauthenticated},
				"fixed, and another's token":    {how{socket: h.fixed, user: anybody, token: h.tokens["shop"]}, unauthenticated},
				"fixed, and a wrong token":      {how{socket: h.fixed, user: anybody, token: "kb_wrong"}, unauthenticated},
				"over TLS, by uid":              {how{socket: h.socket + ".tls", user: billingUser}, "billing"},
				"over TLS, another's token":     {how{socket: h.socket + ".tls", user: billingUser, token: h.tokens["shop"]}, unauthenticated},
				"over TCP":                      {how{user: billingUser, fields: forged}, unauthenticated},
			} {
				if got := h.who(t, c.w); got != c.want {
					t.Errorf("%s: %s, want %s", name, got, c.want)
				}
			}
		})
	}
}

// Where tokens are switched off they prove nobody, and still go nowhere.
func TestTokensCanBeSwitchedOff(t *testing.T) {
	h := newHouse(t, "request", "h1 h2 h2c", "identity token off")
	billing := h.client(h.clients, nil, "billing.internal")
	for name, c := range map[string]struct {
		w    how
		want string
	}{
		"a token":                       {how{token: h.tokens["billing"]}, unauthenticated},
		"a certificate":                 {how{cert: billing}, "billing"},
		"a certificate and a token":     {how{cert: billing, token: h.tokens["shop"]}, "billing"},
		"a token elsewhere than it may": {how{cert: billing, fields: []string{"X-Token: " + h.tokens["shop"]}}, "billing"},
	} {
		if got := h.who(t, c.w); got != c.want { // right looks for tokens in what arrived
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A token ends by itself, and whoever rotates one sees when the old one was last used, also after a restart.
func TestTokensEndAndTellWhenTheyWereUsed(t *testing.T) {
	w := newWorld(t)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	show := func() (c admin.Caller) {
		t.Helper()
		if err := json.Unmarshal([]byte(w.must("", "caller", "show", "billing", "-o", "json")), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := w.tokens["billing"]
	next := w.must("", "caller", "token", "rotate", "billing", "--overlap", "1h", "--expires", "2h")
	w.planted = append(w.planted, next)
	harness.Await(t, "the use is in the ledger", 20*time.Second, func() error {
		if c := show(); c.LastUsedAt.IsZero() || c.Tokens[0].LastUsedAt.IsZero() || !c.Tokens[1].LastUsedAt.IsZero() {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	w.Restart(t)
	before := show()
	if before.Tokens[0].LastUsedAt.IsZero() || before.Tokens[1].ExpiresAt.Sub(before.Tokens[0].ExpiresAt).Round(time.Minute) != time.Hour {
		t.Errorf("after a restart: %+v", before)
	}
	w.tokens["billing"] = next
	w.serves(t, api)
	w.serves(t, api)
	harness.Await(t, "the use of the new one is in the ledger", 20*time.Second, func() error {
		if c := show(); c.Tokens[1].LastUsedAt.IsZero() || !c.Tokens[0].LastUsedAt.Equal(before.Tokens[0].LastUsedAt) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if table := w.must("", "caller", "show", "billing"); strings.Count(table, "last used") != 3 { // each token and the caller
		t.Errorf("caller show: %s", table)
	}

	// One that ends at once, and while it is shown.
	short := w.must("", "caller", "token", "add", "billing", "--expires", "1s")
	w.planted = append(w.planted, short)
	harness.Await(t, "the token ends", 20*time.Second, func() error {
		a := w.ask(t, request("GET", "http://api.example.com/", "api.example.com", "Keybearer-Credential: docs/crm", "Proxy-Authorization: Bearer "+short))
		if a.StatusCode != 407 {
			return fmt.Errorf("%s", a.Status)
		}
		return nil
	})
	if r := w.CLI(t, "", "caller", "create", "late", "--expires", "2020-01-01"); r.Code != 2 {
		t.Errorf("an end in the past: %d %s", r.Code, r.Stderr)
	}
	if r := w.CLI(t, "", "caller", "create", "late", "--no-token", "--expires", "90d"); r.Code != 2 {
		t.Errorf("an end of no token: %d %s", r.Code, r.Stderr)
	}
	if r := w.CLI(t, "", "caller", "create", "soon", "--expires", "90d"); r.Code != 0 {
		t.Errorf("%d %s", r.Code, r.Stderr)
	} else {
		w.planted = append(w.planted, strings.TrimSpace(r.Stdout))
	}
	w.planted = append(w.planted, old)
	sweep(t, w.planted, []string{w.Home, w.Log}, nil)
}

// The server's own user administers it, and so is no app.
func TestTheServersOwnUserIsNoCaller(t *testing.T) {
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := harness.Dir(t)
	config := filepath.Join(dir, "Caddyfile")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]int{anybody.Uid: 1, billingUser.Uid: 0} {
		text := fmt.Sprintf("{\n\tkeybearer {\n\t\tidentity unix_peer {\n\t\t\tuid %d app:billing\n\t\t}\n\t}\n}\n", uid)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil { //nolint:gosec // another user reads it
			t.Fatal(err)
		}
		r := harness.Run(t, harness.Command{
			Path: binary, Args: []string{"validate", "--config", config}, User: anybody, Env: []string{"KEYBEARER_HOME=/nonexistent", "HOME=/nonexistent"}, Dir: dir,
		}, "")
		if r.Code != want || want == 1 && !strings.Contains(r.Stderr, "the server's own") {
			t.Errorf("uid %d: exit code %d\n%s%s", uid, r.Code, r.Stdout, r.Stderr)
		}
	}
}
