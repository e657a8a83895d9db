package caddymodule

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// The admin handler knows operators by their token alone, and sees no uid.
func TestAdminHandler(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, "http:// {\n bind unix/{env.STAND}/api.sock\n keybearer_admin\n}\n")
	issued, err := s.admin().CreateOperator(t.Context(), admin.NewOperator{Name: "ann", Roles: []string{keybearer.RoleInstanceAdmin}})
	if err != nil {
		t.Fatal(err)
	}
	tr := transport("unix/" + filepath.Join(s.dir, "api.sock"))
	tr.Proxy = nil
	defer tr.CloseIdleConnections()
	for token, want := range map[string]int{"": 401, "kbo_wrong": 401, issued.Token.Reveal(): 200} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/api/v1/scopes", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if res, body := s.send(tr, r); res.StatusCode != want || res.Header["Server"] != nil {
			t.Errorf("%s %v %s, want %d", res.Status, res.Header, body, want)
		}
	}
}

// Absolute-form over TLS names the destination in Host and us in the handshake. Where client certificates are asked for, Caddy
// by itself answers that with 421.
func TestForwardOverMutualTLS(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	cert := s.certificate()
	port := freePort(t)
	s.mustLoad(basics, fmt.Sprintf(`https://:%d {
		bind 127.0.0.1
		tls {$STAND}/tls.pem {$STAND}/tls.key {
			client_auth {
				mode require_and_verify
				trust_pool file {$STAND}/tls.pem
			}
		}
		keybearer
	}
	`, port))
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	tr := &http.Transport{
		DisableKeepAlives: true,
		Proxy:             http.ProxyURL(&url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", port)}),
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: "keybearer.internal"},
	}
	res, body := s.send(tr, s.request("POST", "hello"))
	if got := s.taken(); res.StatusCode != 200 || len(got) != 1 || got[0].Header.Get("Authorization") != "Bearer "+secret {
		t.Errorf("%s %s", res.Status, body)
	}
}

// certificate makes one for keybearer.internal, to be used at both ends, and puts it down as tls.pem and tls.key.
func (s *stand) certificate() tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "keybearer.internal"}, DNSNames: []string{"keybearer.internal"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	s.write("tls.pem", string(certPEM))
	s.write("tls.key", string(keyPEM))
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

// The access log that the default Caddyfile suggests keeps neither the user and password of a proxy URL nor a user's assertion.
func TestSuggestedAccessLog(t *testing.T) {
	_, rest, ok := strings.Cut(DefaultCaddyfile, "\t# log {\n")
	block, _, ok2 := strings.Cut(rest, "\n\t# }\n")
	if !ok || !ok2 {
		t.Fatal("the Caddyfile suggests no access log")
	}
	block = "log {\noutput file {env.STAND}/access.log\n" + strings.ReplaceAll(block, "\t#", "") + "\n}\n"
	s := newStand(t)
	s.mustLoad(basics, "http:// {\n bind unix/{env.STAND}/proxy.sock\n keybearer\n"+block+"}\n")
	conn, err := net.Dial("unix", filepath.Join(s.dir, "proxy.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET http://docs%2Fcrm:kb_canary@api.example.com/hook?x=1 HTTP/1.1\r\nHost: api.example.com\r\n"+
		"Proxy-Authorization: Basic a2JfY2FuYXJ5\r\nKeybearer-Acting-User: canary\r\nConnection: close\r\n\r\n")
	if _, err := new(bytes.Buffer).ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	s.mustLoad(basics, site) // the log is written by now
	logged, err := os.ReadFile(filepath.Join(s.dir, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(logged, []byte(`"uri":"http://api.example.com/hook?x=1"`)) {
		t.Errorf("the request is not in the log: %s", logged)
	}
	for _, canary := range []string{"canary", "a2JfY2FuYXJ5", "docs%2Fcrm"} {
		if bytes.Contains(logged, []byte(canary)) {
			t.Errorf("the log holds %s: %s", canary, logged)
		}
	}
}

// byPeer is a guest: it proves the caller "billing" by the uid at the other end of a unix socket.
type byPeer struct {
	UID     uint32 `json:"uid"`
	callers keybearer.Callers
}

func init() { caddy.RegisterModule(byPeer{}) }

func (byPeer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.by_peer", New: func() caddy.Module { return new(byPeer) }}
}

func (p *byPeer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	p.UID = uint32(os.Getuid())
	return end(d, "by_peer")
}

func (p *byPeer) OpenIdentity(_ context.Context, callers keybearer.Callers, _ *slog.Logger) (keybearer.Identity, error) {
	return &byPeer{p.UID, callers}, nil
}

func (p *byPeer) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	if e.Peer == nil || e.Peer.UID != p.UID {
		return nil, nil
	}
	return p.callers.ByName(ctx, "billing")
}

var _ IdentityModule = (*byPeer)(nil)

func TestGuestIdentity(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	s.token = ""
	s.mustLoad(basics+"\n identity by_peer", site)
	tr := transport(s.proxy())
	defer tr.CloseIdleConnections()
	r := s.request("POST", "hello")
	r.Header.Del("Proxy-Authorization")
	if res, body := s.send(tr, r); res.StatusCode != 200 {
		t.Errorf("%s %s", res.Status, body)
	}
}

// Whoever follows the audit log is let go on a reload, and does not hold it up.
func TestFollowEndsWithTheConfiguration(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	first := make(chan struct{}, 100)
	go func() {
		for _, err := range s.admin().Audit(ctx, admin.AuditQuery{Follow: true}) {
			if err != nil {
				ended <- err
				return
			}
			first <- struct{}{}
		}
		ended <- nil
	}()
	<-first // the creation of the global scope
	began := time.Now()
	s.mustLoad(basics, site)
	if err := <-ended; ctx.Err() != nil {
		t.Errorf("still following: %v", err)
	}
	if took := time.Since(began); took > drainTime {
		t.Errorf("the reload took %v", took)
	}
}

// A new store with the old audit file would get a ledger of other credentials.
func TestStoreChangesButNotAuditFile(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	err := s.load(basics+"\n store sqlite {env.STAND}/kb/other.db", site)
	if err == nil || !strings.Contains(err.Error(), "give the new store another audit file") {
		t.Fatalf("error is %v", err)
	}
	s.works(s.proxy())
	s.mustLoad(basics+"\n store sqlite {env.STAND}/kb/other.db\n audit file {env.STAND}/kb/other.jsonl", site)
}
