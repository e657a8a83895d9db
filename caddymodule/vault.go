package caddymodule

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// VaultConnection says where Vault (or OpenBao) is and how to log in. Nothing is taken from VAULT_ADDR, VAULT_TOKEN and the like, unless a
// placeholder asks for it.
type VaultConnection struct {
	// Address of Vault, such as `https://vault.example.com:8200`. `http` is taken for this machine's own addresses only. Required.
	Address string `json:"address,omitempty"`

	// Namespace of Vault Enterprise or OpenBao. Vault Community ignores it.
	Namespace string `json:"namespace,omitempty"`

	// PEM file with the roots that Vault's certificate is judged by. Default: the system's.
	CA string `json:"ca,omitempty"`

	// PEM file with the certificate that is shown to Vault, read anew for each connection.
	Cert string `json:"cert,omitempty"`

	// PEM file with the key of that certificate.
	Key string `json:"key,omitempty"`

	// The name expected in Vault's certificate. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`

	// How long one request may take. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How to log in. Required.
	Auth *VaultAuth `json:"auth,omitempty"`
}

// VaultAuth is a way to log in to Vault. It names files, and holds no secret.
type VaultAuth struct {
	// `token_file`, `approle`, `jwt` or `cert`.
	Method string `json:"method"`

	// Where the auth method is mounted. Default: its name.
	Mount string `json:"mount,omitempty"`

	// The role id of an AppRole.
	RoleID string `json:"role_id,omitempty"`

	// The file with its secret id, read at each login.
	SecretIDFile string `json:"secret_id_file,omitempty"`

	// The file holds a wrapping token for the secret id instead.
	Wrapped bool `json:"wrapped,omitempty"`

	// The role of JWT and certificate logins. For the latter, default: whichever of Vault's matches.
	Role string `json:"role,omitempty"`

	// The file with the token, or with the JWT, read anew when it is needed.
	TokenFile string `json:"token_file,omitempty"`
}

const vaultOptions = "address, namespace, ca, cert, server_name, timeout and auth"

// unmarshalOption parses the option that the dispenser stands at, if it is one of the connection's.
func (v *VaultConnection) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	once := func(field *string, what string) error {
		if *field != "" {
			return d.Errf("%s is written twice: keep one", d.Val())
		}
		*field, err = argument(d, what)
		return err
	}
	switch d.Val() {
	case "address":
		return true, once(&v.Address, "the address of Vault, such as https://vault.example.com:8200")
	case "namespace":
		return true, once(&v.Namespace, "a namespace")
	case "ca":
		return true, once(&v.CA, "a PEM file")
	case "server_name":
		return true, once(&v.ServerName, "a host name")
	case "cert":
		args := d.RemainingArgs()
		if len(args) != 2 {
			return true, d.Err("cert needs a PEM certificate and its PEM key: cert <certificate> <key>")
		}
		v.Cert, v.Key = args[0], args[1]
		return true, end(d, "cert")
	case "timeout":
		timeout, err := duration(d)
		if err == nil && *timeout == 0 {
			err = d.Err("a timeout is longer than 0: leave it out for the default")
		}
		if err == nil {
			v.Timeout = *timeout
		}
		return true, err
	case "auth":
		return true, unmarshalAuth(d, &v.Auth)
	}
	return false, nil
}

// unmarshalAuth parses "auth <method> …".
func unmarshalAuth(d *caddyfile.Dispenser, into **VaultAuth) error {
	if *into != nil {
		return d.Err("auth is written twice: keep one")
	}
	if !d.NextArg() {
		return d.Err("auth needs a method: token_file, approle, jwt or cert")
	}
	a := &VaultAuth{Method: d.Val()}
	*into = a
	options := map[string]*string{"mount": &a.Mount}
	switch a.Method {
	case "token_file":
		return takeFile(d, &a.TokenFile)
	case "approle":
		options["role_id"], options["secret_id_file"] = &a.RoleID, &a.SecretIDFile
	case "jwt":
		options["role"], options["token_file"] = &a.Role, &a.TokenFile
	case "cert":
		if d.NextArg() {
			a.Role = d.Val()
		}
	case "kubernetes":
		return d.Err("there is no auth kubernetes: write auth jwt, with mount kubernetes")
	default:
		return d.Errf("unknown auth %q: Keybearer logs in to Vault with token_file, approle, jwt or cert", a.Method)
	}
	if d.NextArg() {
		return d.Errf("unexpected argument after auth %s: write its options in a block", a.Method)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		field, ok := options[d.Val()]
		switch {
		case a.Method == "approle" && d.Val() == "wrapped":
			a.Wrapped = true
			if err := end(d, "wrapped"); err != nil {
				return err
			}
		case a.Method == "approle" && (d.Val() == "secret_id" || d.Val() == "secret"):
			return d.Err("a secret id does not belong into the configuration: put it into a file, and name that with secret_id_file")
		case !ok:
			return d.Errf("unknown option %q of auth %s", d.Val(), a.Method)
		case *field != "":
			return d.Errf("%s is written twice: keep one", d.Val())
		case d.Val() == "secret_id_file" || d.Val() == "token_file":
			if err := takeFile(d, field); err != nil {
				return err
			}
		default:
			var err error
			if *field, err = argument(d, "a value"); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeFile parses the path of a file, and refuses what was to stand in it; it does not repeat it either.
func takeFile(d *caddyfile.Dispenser, path *string) error {
	option := d.Val()
	text, err := argument(d, "the path of a file")
	if err != nil {
		return err
	}
	for _, prefix := range []string{"hvs.", "hvb.", "s.", "b.", "eyJ"} {
		if strings.HasPrefix(text, prefix) && !strings.Contains(text, "/") {
			return d.Errf("%s holds what looks like the token itself: put it into a file of mode 0600, and give its path", option)
		}
	}
	*path = text
	return nil
}

// provision resolves placeholders and paths, and checks all that can be without a connection.
func (v *VaultConnection) provision() error {
	if v.Address == "" {
		return fmt.Errorf("address is missing: add address https://<vault>:8200")
	}
	texts := []*string{&v.Address, &v.Namespace, &v.ServerName}
	files := []*string{&v.CA, &v.Cert, &v.Key}
	for _, text := range texts {
		if err := resolve(text); err != nil {
			return err
		}
	}
	for _, file := range files {
		if *file == "" {
			continue
		}
		if err := locate(file, ""); err != nil {
			return err
		}
	}
	return v.provisionAuth(v.Auth)
}

func (v *VaultConnection) provisionAuth(a *VaultAuth) error {
	if a != nil {
		for _, text := range []*string{&a.Mount, &a.RoleID, &a.Role} {
			if err := resolve(text); err != nil {
				return err
			}
		}
		for _, file := range []*string{&a.SecretIDFile, &a.TokenFile} {
			if *file == "" {
				continue
			}
			if err := locate(file, ""); err != nil {
				return err
			}
		}
	}
	config, err := v.config(a, nil)
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		e := keybearer.AsError(err)
		return fmt.Errorf("%s: %s", e.Message(), e.Advice())
	}
	return nil
}

func resolve(text *string) error {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(*text, true, true)
	if err != nil {
		return err
	}
	*text = strings.TrimSpace(resolved) // a file may end with a line break
	return nil
}

// config returns what the client needs to log in one way.
func (v *VaultConnection) config(a *VaultAuth, logger *slog.Logger) (vaultclient.Config, error) {
	c := vaultclient.Config{
		Address: v.Address, CACert: v.CA, ClientCert: v.Cert, ClientKey: v.Key, ServerName: v.ServerName, Namespace: v.Namespace,
		Timeout: time.Duration(v.Timeout), Logger: logger,
	}
	if a == nil {
		return c, nil // Validate says what is missing
	}
	switch a.Method {
	case "token_file":
		c.Auth = &vaultclient.TokenFile{Path: a.TokenFile}
	case "approle":
		c.Auth = &vaultclient.AppRole{Mount: a.Mount, RoleID: a.RoleID, SecretIDFile: a.SecretIDFile, Wrapped: a.Wrapped}
	case "jwt":
		c.Auth = vaultclient.JWT{Mount: a.Mount, Role: a.Role, TokenFile: a.TokenFile}
	case "cert":
		c.Auth = vaultclient.Cert{Mount: a.Mount, Role: a.Role}
	default:
		return c, keybearer.NewError(keybearer.Invalid, "the auth method of Vault is none that Keybearer knows").WithHint("use token_file, approle, jwt or cert")
	}
	return c, nil
}

// client returns a client that logs in one way, and makes no connection.
func (v *VaultConnection) client(a *VaultAuth, logger *slog.Logger) (*vaultclient.Client, error) {
	config, err := v.config(a, logger)
	if err != nil {
		return nil, err
	}
	return vaultclient.New(config)
}
