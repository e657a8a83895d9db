package vaultclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keybearer/keybearer"
)

// Auth is a way to log in: [*TokenFile], [*AppRole], [JWT] or [Cert].
type Auth interface {
	// validate checks what can be without a connection.
	validate(Config) error
	// login asks for a token. send makes one request with a token, which may be none.
	login(ctx context.Context, send sender) (*token, error)
	// changed reports whether what login reads has become another since.
	changed() bool
}

// sender makes one request and returns the body of the answer.
type sender func(ctx context.Context, token keybearer.Secret, r Request) ([]byte, error)

// token is what a login gave.
type token struct {
	value     keybearer.Secret
	ttl       time.Duration // from the login; 0: it never ends
	renewable bool
	ours      bool // made for us, to be revoked by us
}

// TokenFile is a file that holds a token, as Vault Agent writes it. It is read anew when it changes.
type TokenFile struct {
	Path string

	seen fileState
}

func (a *TokenFile) validate(Config) error { return needs(a.Path, "token_file", "a path") }

func (a *TokenFile) changed() bool { return a.seen.changed(a.Path) }

func (a *TokenFile) login(ctx context.Context, send sender) (*token, error) {
	a.seen.note(a.Path)
	value, err := readFile(a.Path)
	if err != nil {
		return nil, err
	}
	body, err := send(ctx, value, Request{Method: http.MethodGet, Path: "auth/token/lookup-self"})
	if err != nil {
		return nil, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	t := &token{value: value}
	if t.ttl, err = secret.TokenTTL(); err == nil {
		t.renewable, err = secret.TokenIsRenewable()
	}
	return t, err
}

// AppRole logs in with a role id and a secret id, which is read from its file at each login.
type AppRole struct {
	Mount        string // "": approle
	RoleID       string
	SecretIDFile string
	Wrapped      bool // the file holds a wrapping token for the secret id; it is unwrapped once, and kept in memory

	mu        sync.Mutex
	wrapping  keybearer.Secret // the token that was unwrapped
	unwrapped keybearer.Secret
}

func (a *AppRole) validate(Config) error {
	if err := needs(a.RoleID, "approle", "role_id"); err != nil {
		return err
	}
	return needs(a.SecretIDFile, "approle", "secret_id_file")
}

func (a *AppRole) changed() bool { return false }

func (a *AppRole) login(ctx context.Context, send sender) (*token, error) {
	id, err := readFile(a.SecretIDFile)
	if err == nil && a.Wrapped {
		id, err = a.unwrap(ctx, send, id)
	}
	if err != nil {
		return nil, err
	}
	return loginAt(ctx, send, or(a.Mount, "approle"), map[string]any{"role_id": a.RoleID, "secret_id": id.Reveal()})
}

func (a *AppRole) unwrap(ctx context.Context, send sender, wrapping keybearer.Secret) (keybearer.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.unwrapped.IsZero() && a.wrapping.Reveal() == wrapping.Reveal() {
		return a.unwrapped, nil
	}
	body, err := send(ctx, wrapping, Request{Method: http.MethodPut, Path: "sys/wrapping/unwrap"})
	if err != nil {
		return keybearer.Secret{}, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(body))
	if err != nil {
		return keybearer.Secret{}, err
	}
	var id string
	if secret != nil { // nil: the answer was empty
		id, _ = secret.Data["secret_id"].(string)
	}
	if id == "" {
		return keybearer.Secret{}, local(a.SecretIDFile, errors.New("what was wrapped is no secret id"))
	}
	a.wrapping, a.unwrapped = wrapping, keybearer.NewSecret(id)
	return a.unwrapped, nil
}

// JWT logs in with a signed token from a file, such as a Kubernetes service account's; the file is read at each login.
type JWT struct {
	Mount     string // "": jwt
	Role      string
	TokenFile string
}

func (a JWT) validate(Config) error {
	if err := needs(a.Role, "jwt", "role"); err != nil {
		return err
	}
	return needs(a.TokenFile, "jwt", "token_file")
}

func (a JWT) changed() bool { return false }

func (a JWT) login(ctx context.Context, send sender) (*token, error) {
	jwt, err := readFile(a.TokenFile)
	if err != nil {
		return nil, err
	}
	return loginAt(ctx, send, or(a.Mount, "jwt"), map[string]any{"role": a.Role, "jwt": jwt.Reveal()})
}

// Cert logs in with the client certificate of the configuration.
type Cert struct {
	Mount string // "": cert
	Role  string // "": whichever role of Vault matches
}

func (a Cert) validate(c Config) error {
	if c.ClientCert == "" {
		return invalid("auth cert needs a client certificate", "add cert <certificate> <key>")
	}
	if !strings.HasPrefix(c.Address, "https://") {
		return invalid("auth cert needs TLS, and the address of Vault is http", "write https://")
	}
	return nil
}

func (a Cert) changed() bool { return false }

func (a Cert) login(ctx context.Context, send sender) (*token, error) {
	body := map[string]any{}
	if a.Role != "" {
		body["name"] = a.Role
	}
	return loginAt(ctx, send, or(a.Mount, "cert"), body)
}

func loginAt(ctx context.Context, send sender, mount string, body map[string]any) (*token, error) {
	answer, err := send(ctx, keybearer.Secret{}, Request{Method: http.MethodPut, Path: "auth/" + mount + "/login", Body: body})
	if err != nil {
		return nil, err
	}
	secret, err := api.ParseSecret(bytes.NewReader(answer))
	if err != nil {
		return nil, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, errors.New("the answer to the login has no token")
	}
	return &token{
		value: keybearer.NewSecret(secret.Auth.ClientToken), ttl: time.Duration(secret.Auth.LeaseDuration) * time.Second,
		renewable: secret.Auth.Renewable, ours: true,
	}, nil
}

// readFile reads a file of one word.
func readFile(path string) (keybearer.Secret, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return keybearer.Secret{}, local(path, err)
	}
	word := strings.TrimSpace(string(text))
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return keybearer.Secret{}, local(path, errors.New("the file must hold one word"))
	}
	return keybearer.NewSecret(word), nil
}

func local(path string, err error) error {
	return &Error{Method: "read", Path: path, Err: fmt.Errorf("%w: %w", errLocal, err)}
}

func needs(value, method, what string) error {
	if value == "" {
		return invalid("auth "+method+" lacks "+what, "add it")
	}
	return nil
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// fileState remembers a file as it was when it was read.
type fileState struct {
	mu   sync.Mutex
	info os.FileInfo
}

func (f *fileState) note(path string) {
	info, _ := os.Stat(path) // nil: absent
	f.mu.Lock()
	defer f.mu.Unlock()
	f.info = info
}

func (f *fileState) changed(path string) bool {
	info, err := os.Stat(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.info == nil {
		return err == nil
	}
	return !os.SameFile(info, f.info) || info.Size() != f.info.Size() || !info.ModTime().Equal(f.info.ModTime())
}
