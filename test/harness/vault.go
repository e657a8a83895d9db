package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// vaultVersion is the Vault that test/setup builds.
const vaultVersion = "1.21.2"

// Vault is a real Vault server with an unseal key of one share. Tests do with it what its operator would.
type Vault struct {
	*Process
	Addr  netip.AddrPort
	URL   string
	Token string // root's
	CA    *CA    // as in VaultOptions

	options VaultOptions
	config  string // its path
	unseal  string
	client  *http.Client
}

// VaultOptions say how a Vault is set up. The zero value is one in memory, on plain HTTP.
type VaultOptions struct {
	Persistent bool     // on disk (raft, which takes some seconds to begin): what it holds survives Stop and Start; false: in memory
	CA         *CA      // issues its certificate, for its address and localhost; nil: plain HTTP
	Names      []string // further names in that certificate
	Kubernetes bool     // has the auth method kubernetes too, as a plugin of that name
}

// StartVault starts Vault on port 8200 of an address of its own, makes it new and unseals it. Nothing is mounted or allowed.
func StartVault(tb TB, o VaultOptions) *Vault {
	tb.Helper()
	v := &Vault{Addr: netip.AddrPortFrom(Address(), 8200), CA: o.CA, options: o}
	dir := Dir(tb)
	listener := "tls_disable = true"
	v.URL, v.client = "http://"+v.Addr.String(), &http.Client{Timeout: 30 * time.Second}
	if o.CA != nil {
		pem := o.CA.Files(tb, append([]string{v.Addr.Addr().String(), "localhost"}, o.Names...)...)
		listener = fmt.Sprintf("tls_cert_file = %[1]q\n  tls_key_file = %[1]q", pem)
		v.URL = "https://" + v.Addr.String()
		v.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.CA.Pool}}
	}
	tb.Cleanup(v.client.CloseIdleConnections)
	storage := `storage "inmem" {}`
	if o.Persistent {
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			tb.Fatalf("%v", err)
		}
		storage = fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = \"one\"\n  performance_multiplier = 1\n}", data)
	}
	if o.Kubernetes {
		storage += fmt.Sprintf("\nplugin_directory = %q", vaultPlugins(tb))
	}
	v.config = WriteFile(tb, filepath.Join(dir, "vault.hcl"), fmt.Appendf(nil, `%s
listener "tcp" {
  address = %q
  %s
}
api_addr = %q
cluster_addr = "https://%s:8201"
disable_mlock = true
log_level = "warn"
`, storage, v.Addr, listener, v.URL, v.Addr.Addr()))
	v.start(tb)

	var made struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	v.Must(tb, "PUT", "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1}).Decode(tb, &made)
	v.unseal, v.Token = made.Keys[0], made.Token
	v.Unseal(tb)
	if o.Kubernetes {
		v.registerKubernetes(tb)
	}
	return v
}

// Start starts it again after Stop or Kill, at the same address, and unseals it. It must be persistent.
func (v *Vault) Start(tb TB) {
	tb.Helper()
	v.StartSealed(tb)
	v.Unseal(tb)
}

// StartSealed is Start without unsealing.
func (v *Vault) StartSealed(tb TB) {
	tb.Helper()
	if !v.options.Persistent {
		tb.Fatalf("a Vault in memory has forgotten all: ask for a persistent one")
	}
	v.start(tb)
}

func (v *Vault) start(tb TB) {
	tb.Helper()
	v.Process = Start(tb, Command{
		Name: "vault", Path: VaultBinary(tb), Args: []string{"server", "-config=" + v.config}, Env: []string{"HOME=" + Dir(tb)},
		Ready: Accepts(v.Addr),
	})
}

// VaultBinary returns the path of the program that test/setup builds.
func VaultBinary(tb TB) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatalf("where Vault is built: %v; run make setup", err)
	}
	binary := filepath.Join(cache, "keybearer", "vault-"+vaultVersion)
	if _, err := os.Stat(binary); err != nil {
		tb.Fatalf("Vault %s is not built: %v; run make setup", vaultVersion, err)
	}
	return binary
}

// Seal seals it: it answers 503 to everything until Unseal.
func (v *Vault) Seal(tb TB) {
	tb.Helper()
	v.Must(tb, "PUT", "sys/seal", nil)
}

// Unseal unseals it and waits until it serves.
func (v *Vault) Unseal(tb TB) {
	tb.Helper()
	v.Must(tb, "PUT", "sys/unseal", map[string]any{"key": v.unseal})
	Await(tb, "Vault serves", 30*time.Second, func() error {
		if a := v.Do(tb, "GET", "sys/health", nil); a.Status != http.StatusOK {
			return fmt.Errorf("health: %d", a.Status)
		}
		return nil
	})
}

// VaultAnswer is what Vault answered.
type VaultAnswer struct {
	Status int
	Body   []byte
}

// Decode reads the body as JSON.
func (a VaultAnswer) Decode(tb TB, into any) {
	tb.Helper()
	if err := json.Unmarshal(a.Body, into); err != nil {
		tb.Fatalf("answer of Vault %s: %v", a.Body, err)
	}
}

// Data returns the member "data", or "auth" where there is no data.
func (a VaultAnswer) Data(tb TB) map[string]any {
	tb.Helper()
	var answer struct{ Data, Auth map[string]any }
	a.Decode(tb, &answer)
	if answer.Data == nil {
		return answer.Auth
	}
	return answer.Data
}

// Do calls the API with the root token; path is without "v1/", body is sent as JSON unless it is nil. It ends the
// test only when there is no answer at all.
func (v *Vault) Do(tb TB, method, path string, body any) VaultAnswer {
	tb.Helper()
	return v.DoAs(tb, v.Token, method, path, body)
}

// DoAs is Do with another token.
func (v *Vault) DoAs(tb TB, token, method, path string, body any) VaultAnswer {
	tb.Helper()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			tb.Fatalf("%v", err)
		}
	}
	// Seal and clean-up must also work when the test's own context has ended.
	req, err := http.NewRequestWithContext(context.WithoutCancel(tb.Context()), method, v.URL+"/v1/"+path, bytes.NewReader(content))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := v.client.Do(req)
	if err != nil {
		tb.Fatalf("vault: %v", err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("vault: %v", err)
	}
	return VaultAnswer{resp.StatusCode, got}
}

// Must is Do that ends the test when Vault refuses.
func (v *Vault) Must(tb TB, method, path string, body any) VaultAnswer {
	tb.Helper()
	a := v.Do(tb, method, path, body)
	if a.Status >= 400 {
		tb.Fatalf("vault: %s %s: %d %s", method, path, a.Status, a.Body)
	}
	return a
}

// Mount mounts a secrets engine, "transit" or "kv-v2", at a path.
func (v *Vault) Mount(tb TB, path, engine string) {
	tb.Helper()
	v.Must(tb, "POST", "sys/mounts/"+path, map[string]any{"type": engine})
}

// Policy writes a policy.
func (v *Vault) Policy(tb TB, name, hcl string) {
	tb.Helper()
	v.Must(tb, "PUT", "sys/policies/acl/"+name, map[string]any{"policy": hcl})
}

// AppRole is a role that a program logs in with.
type AppRole struct {
	Name         string
	RoleID       string
	SecretIDFile string // mode 0600
}

// AppRole makes a role with these policies and nothing else, and a secret id for it. settings are added to the role's own: token_ttl,
// secret_id_num_uses and so on; nil: an hour, without limit.
func (v *Vault) AppRole(tb TB, name string, settings map[string]any, policies ...string) AppRole {
	tb.Helper()
	var methods map[string]any
	v.Must(tb, "GET", "sys/auth", nil).Decode(tb, &methods)
	if methods["approle/"] == nil {
		v.Must(tb, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	}
	role := map[string]any{"token_policies": policies, "token_no_default_policy": true, "token_ttl": "1h"}
	for k, value := range settings {
		role[k] = value
	}
	v.Must(tb, "POST", "auth/approle/role/"+name, role)
	id := v.Must(tb, "GET", "auth/approle/role/"+name+"/role-id", nil).Data(tb)["role_id"].(string)
	r := AppRole{Name: name, RoleID: id, SecretIDFile: filepath.Join(Dir(tb), "secret-id")}
	v.NewSecretID(tb, r)
	return r
}

// NewSecretID writes a new secret id into the role's file.
func (v *Vault) NewSecretID(tb TB, r AppRole) {
	tb.Helper()
	id := v.Must(tb, "POST", "auth/approle/role/"+r.Name+"/secret-id", nil).Data(tb)["secret_id"].(string)
	WriteFile(tb, r.SecretIDFile, []byte(id+"\n"))
}

// Login logs in with a role and returns a token.
func (v *Vault) Login(tb TB, r AppRole) string {
	tb.Helper()
	id, err := os.ReadFile(r.SecretIDFile)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	a := v.Must(tb, "POST", "auth/approle/login", map[string]any{"role_id": r.RoleID, "secret_id": strings.TrimSpace(string(id))})
	return a.Data(tb)["client_token"].(string)
}

// Transit makes a transit mount as docs/vault.md has it made: without upsert, with the documented policies under the names
// <mount>-data and <mount>-control, and a role of each.
func (v *Vault) Transit(tb TB, mount string) (data, control AppRole) {
	tb.Helper()
	v.Mount(tb, mount, "transit")
	v.Must(tb, "POST", mount+"/config/keys", map[string]any{"disable_upsert": true})
	for name, hcl := range DocumentedPolicies(tb, "docs/vault.md") {
		name = strings.Replace(name, "keybearer-", mount+"-", 1)
		v.Policy(tb, name, strings.ReplaceAll(hcl, `"keybearer/`, `"`+mount+`/`))
	}
	return v.AppRole(tb, mount+"-data", nil, mount+"-data"), v.AppRole(tb, mount+"-control", nil, mount+"-control")
}

// DocumentedCommands returns the blocks marked bash of a page of the documentation, in their order: those that a test runs on a machine of its own.
func DocumentedCommands(tb TB, page string) []string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(Repository(), page))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "\n```bash\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```\n")
		if !closed {
			tb.Fatalf("%s: a block of commands has no end", page)
		}
		blocks = append(blocks, block+"\n")
	}
	if len(blocks) == 0 {
		tb.Fatalf("%s has no commands", page)
	}
	return blocks
}

// Type runs commands in a directory, with the real vault command and the root token, and returns what they write.
func (v *Vault) Type(tb TB, dir, script string) string {
	tb.Helper()
	bin := Dir(tb)
	if err := os.Symlink(VaultBinary(tb), filepath.Join(bin, "vault")); err != nil {
		tb.Fatalf("%v", err)
	}
	r := Run(tb, Command{
		Path: "bash", Args: []string{"-euxo", "pipefail", "-c", script}, Dir: dir,
		Env: []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + bin, "VAULT_ADDR=" + v.URL, "VAULT_TOKEN=" + v.Token},
	}, "")
	if r.Code != 0 {
		tb.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// DocumentedPolicies returns the blocks marked hcl of a page of the documentation by their name, which is the first line's
// comment: "# keybearer-data.hcl: …" names keybearer-data.
func DocumentedPolicies(tb TB, page string) map[string]string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(Repository(), page))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	policies := map[string]string{}
	for _, part := range strings.Split(string(text), "\n```hcl\n")[1:] {
		block, _, closed := strings.Cut(part, "\n```\n")
		first, _, _ := strings.Cut(block, "\n")
		name, _, named := strings.Cut(strings.TrimPrefix(first, "# "), ".hcl")
		if !closed || !named || policies[name] != "" {
			tb.Fatalf("%s: a block of HCL that begins with %q: want \"# <name>.hcl: …\", once", page, first)
		}
		policies[name] = block + "\n"
	}
	if len(policies) == 0 {
		tb.Fatalf("%s has no policy", page)
	}
	return policies
}
