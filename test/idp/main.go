// Command idp is an OpenID provider for the tests: that of github.com/zitadel/oidc, with users who are in groups, and keys that can be changed.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// groups are those of the users. The password of each is their name.
var groups = map[string][]string{"ann": {"platform", "writers"}, "bob": {"docs-admins"}, "cid": nil}

func main() {
	listen := flag.String("listen", "127.0.0.1:9443", "`address` to listen on; the issuer is https://<address>")
	pair := flag.String("pair", "", "PEM `file` with a certificate for it and its key")
	client := flag.String("client", "keybearer", "`id` of the one client")
	secret := flag.String("secret-file", "", "`file` with its secret")
	redirect := flag.String("redirect", "", "`address` that the client may send browsers back to")
	flag.Parse()
	b, err := os.ReadFile(*secret)
	if err != nil {
		fail(err)
	}
	storage.RegisterClients(storage.WebClient(*client, string(b), *redirect))
	h := &house{Storage: storage.NewStorage(users{})}
	h.newKey()
	router := exampleop.SetupServer("https://"+*listen, h, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	router.Post("/new-key", func(w http.ResponseWriter, _ *http.Request) { h.newKey() })
	server := &http.Server{Addr: *listen, Handler: router}
	fail(server.ListenAndServeTLS(*pair, *pair))
}

type users struct{}

func (users) user(name string) *storage.User {
	if _, ok := groups[name]; !ok {
		return nil
	}
	return &storage.User{ID: name, Username: name, Password: name, Email: name + "@example.com", EmailVerified: true}
}

func (u users) GetUserByID(id string) *storage.User         { return u.user(id) }
func (u users) GetUserByUsername(name string) *storage.User { return u.user(name) }
func (users) ExampleClientID() string                       { return "none" }

// house is the example's storage with groups and keys of its own.
type house struct {
	*storage.Storage
	mu  sync.Mutex
	key *key
	n   int
}

func (h *house) newKey() {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		fail(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	h.key = &key{fmt.Sprintf("key-%d", h.n), private}
}

func (h *house) SigningKey(context.Context) (op.SigningKey, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.key, nil
}

func (h *house) KeySet(context.Context) ([]op.Key, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return []op.Key{public{h.key}}, nil
}

func (h *house) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	info.AppendClaims("groups", groups[token.GetSubject()])
	return h.Storage.SetUserinfoFromRequest(ctx, info, token, scopes)
}

// GetClientByClientID returns the client, who gets what is known of a person in the ID token.
func (h *house) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := h.Storage.GetClientByClientID(ctx, id)
	return client{c}, err
}

type client struct{ op.Client }

func (client) IDTokenUserinfoClaimsAssertion() bool { return true }

type key struct {
	id      string
	private *rsa.PrivateKey
}

func (*key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k *key) Key() any                                  { return k.private }
func (k *key) ID() string                                { return k.id }

type public struct{ *key }

func (p public) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (public) Use() string                          { return "sig" }
func (p public) Key() any                           { return &p.private.PublicKey }

func fail(err error) {
	fmt.Fprintln(os.Stderr, "idp:", err)
	os.Exit(1)
}
