package containers

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keybearer/keybearer/test/harness"
)

// plane is what a cluster's control plane does here: it issues tokens of service accounts, and reviews them, as Vault's Kubernetes auth method asks.
type plane struct {
	key      *harness.IssuerKey
	reviewer string // the token of Vault's own service account
}

const issuer = "https://kubernetes.default.svc.cluster.local"

func startPlane(t *testing.T, ca *harness.CA) *plane {
	t.Helper()
	p := &plane{key: harness.NewKey(t, "one", "ES256")}
	p.reviewer = p.issue(t)("vault", "vault", issuer)
	s := harness.StartServer(t, harness.ServerOptions{
		Name: "kubernetes", TLS: harness.ServerTLS(ca.Issue(t, time.Time{}, "kubernetes.default.svc")), Handler: http.HandlerFunc(p.review), Forget: true,
	})
	known(t, "kubernetes.default.svc", s.Addr.Addr())
	// Vault finds these where every pod of a cluster has them. /run is this test's own meanwhile.
	if out, err := exec.Command("mount", "-t", "tmpfs", "tmpfs", "/run").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "--lazy", "/run").Run() })
	const account = "/run/secrets/kubernetes.io/serviceaccount"
	if err := os.MkdirAll(account, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, account+"/ca.crt", []byte(contents(t, ca.File)))
	harness.WriteFile(t, account+"/token", []byte(p.reviewer))
	return p
}

// known adds a name to those that this network knows.
func known(t *testing.T, name string, addr netip.Addr) {
	t.Helper()
	f, err := os.OpenFile("/etc/hosts", os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(addr.String() + " " + name + "\n")
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

type account struct {
	Namespace      string `json:"namespace"`
	ServiceAccount struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"serviceaccount"`
}

// issue returns what signs projected tokens.
func (p *plane) issue(t *testing.T) tokens {
	return func(namespace, name, audience string) string {
		var a account
		a.Namespace, a.ServiceAccount.Name, a.ServiceAccount.UID = namespace, name, "uid-of-"+name
		now := time.Now()
		return p.key.Sign(t, nil, map[string]any{
			"iss": issuer, "aud": []string{audience}, "sub": "system:serviceaccount:" + namespace + ":" + name,
			"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "kubernetes.io": a,
		})
	}
}

// review answers a TokenReview as the API server does: for who may ask, about the signature, the time and the audience.
func (p *plane) review(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	if r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || r.Header.Get("Authorization") != "Bearer "+p.reviewer {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var claims struct {
		jwt.Claims
		Account account `json:"kubernetes.io"`
	}
	token, err := jwt.ParseSigned(ask.Spec.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err == nil {
		err = token.Claims(p.key.Private.Public(), &claims)
	}
	if err == nil {
		err = claims.Validate(jwt.Expected{Issuer: issuer, AnyAudience: ask.Spec.Audiences, Time: time.Now()})
	}
	status := map[string]any{"authenticated": err == nil}
	if err == nil {
		status["audiences"] = ask.Spec.Audiences
		status["user"] = map[string]any{"username": claims.Subject, "uid": claims.Account.ServiceAccount.UID}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

// From nothing to a first authenticated webhook, through the gateway and through a sidecar, with what deploy/kubernetes has and docs/kubernetes.md says, word for word but
// for kubectl itself: Vault's Kubernetes auth method, the Secret, the Caddyfiles, the probes and the apps' environment.
func TestKubernetesByThePage(t *testing.T) {
	ca := harness.NewCA(t)
	destination := api(t, ca)
	cluster := startPlane(t, ca)
	vault := harness.StartVault(t, harness.VaultOptions{CA: ca, Names: []string{"vault.vault.svc"}, Kubernetes: true})
	vault.Transit(t, "keybearer")
	known(t, "vault.vault.svc", vault.Addr.Addr())
	pg := harness.StartPostgres(t)
	pg.TLS(t, ca, "postgres.postgres.svc")
	dsn := strings.Split(strings.TrimPrefix(pg.Database(t), "postgres://keybearer:"), "/") // password@address, database?…
	password, _, _ := strings.Cut(dsn[0], "@")
	database, _, _ := strings.Cut(dsn[1], "?")
	known(t, "postgres.postgres.svc", pg.Addr.Addr())

	dir, secrets := harness.Dir(t), harness.Dir(t)
	copied(t, filepath.Join(repository, "deploy"), dir)
	here := filepath.Join(dir, "deploy/kubernetes")
	for _, name := range []string{"store-ca.pem", "vault-ca.pem"} {
		harness.WriteFile(t, filepath.Join(here, name), []byte(contents(t, ca.File)))
	}
	page := blocks(t, "kubernetes.md", "kubernetes")
	if len(page) != 6 {
		t.Fatalf("%d blocks, not 6", len(page))
	}
	programs := map[string]string{"vault": "#!/bin/sh\nVAULT_ADDR=" + vault.URL + " VAULT_CACERT=" + ca.File + " VAULT_TOKEN=" + vault.Token + " exec " + harness.VaultBinary(t) + ` "$@"`}
	kubectl := func(control *container, apps *island) {
		programs["kubectl"] = `#!/bin/bash
namespace=default
[ "$1" = -n ] && { namespace=$2; shift 2; }
case "$1 $2" in
"apply "* | "rollout status" | "create namespace") exit 0 ;;
"create secret")
	to=` + secrets + `/$namespace/$4
	mkdir -p "$to"
	for file in "${@:5}"; do cp "${file#--from-file=}" "$to/"; done
	exit 0 ;;
esac
[ "$1" = exec ] || { echo "not known here: kubectl $*" >&2; exit 2; }
shift
[ "$1" = -i ] && shift
pod=$1
[ "$2" = -- ] || exit 2
shift 2
case $namespace/$pod in`
		if control != nil {
			proxy := `$(cat ` + secrets + `/shop/billing-keybearer/proxy)`
			programs["kubectl"] += `
keybearer/control-0) exec ` + control.line() + ` "$@" ;;
shop/deployment/billing) exec ` + apps.line() + ` env -i PATH="$PATH" HTTP_PROXY="` + proxy + `" http_proxy="` + proxy + `" "$@" ;;
booking/deployment/booking) exec env -i PATH="$PATH" HTTP_PROXY=http://127.0.0.1:9080 http_proxy=http://127.0.0.1:9080 "$@" ;;`
		}
		programs["kubectl"] += "\n*) exit 2 ;;\nesac\n"
	}
	kubectl(nil, nil)
	shell(t, dir, programs, page[0])
	shell(t, dir, programs, strings.NewReplacer("PASSWORD", password, "/keybearer?", "/"+database+"?").Replace(page[1]))

	apps := newIsland(t, gateway, "192.0.2.2")
	control, shared := readPod(t, "control", "control.yaml"), readPod(t, "gateway", "gateway.yaml")
	operators := control.container(t, ca, secrets, cluster.issue(t), map[string]string{"KEYBEARER_BIND": "127.0.0.2"})
	control.start(t, operators)
	servers := shared.container(t, ca, secrets, cluster.issue(t), map[string]string{"KEYBEARER_BIND": gateway})
	shared.start(t, servers)
	kubectl(operators, apps)
	shell(t, here, programs, page[2])
	operators.wellByDoctor(t)
	servers.wellByDoctor(t)
	shell(t, here, programs, page[3])
	out := shell(t, here, programs, page[4])
	authenticated(t, destination, 1)
	if !strings.Contains(out, "received-status=200") {
		t.Errorf("the app was told\n%s", out)
	}

	before, after, ok := strings.Cut(page[5], "kubectl -n booking rollout")
	if !ok {
		t.Fatal("the page waits for no rollout")
	}
	shell(t, here, programs, before)
	sidecar := readPod(t, "sidecar", "app.yaml")
	beside := sidecar.container(t, ca, secrets, cluster.issue(t), map[string]string{"KEYBEARER_BIND": "127.0.0.4"})
	sidecar.start(t, beside)
	shell(t, here, programs, "kubectl -n booking rollout"+after)
	authenticated(t, destination, 2)
	beside.wellByDoctor(t)

	// The gateway and the sidecar cannot seal, and the metrics are where Prometheus is told to look.
	for name, c := range map[string]*container{"gateway": servers, "sidecar": beside} {
		r := harness.Run(t, c.command("/usr/bin/keybearer", "credential", "create", "docs/new", "--kind", "bearer", "--domain", "api.example.com"), "s3cret")
		if !strings.Contains(r.Stderr, "keyring_unavailable") {
			t.Errorf("%s: a server that only opens seals: %s%s", name, r.Stdout, r.Stderr)
		}
	}
	for _, address := range []string{gateway, "127.0.0.2", "127.0.0.4"} {
		if out := shell(t, here, nil, "curl -sS --fail http://"+address+":9083/metrics"); !strings.Contains(out, "\nkeybearer_build_info{") {
			t.Errorf("%s has no metrics", address)
		}
	}
	// The container "audit" waits for a new file when it has moved the old one away, whether or not there is anything to write.
	log := filepath.Join(servers.root, "audit/audit.jsonl")
	if err := os.Rename(log, log+".old"); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "a new audit log", 20*time.Second, func() error { _, err := os.Stat(log); return err })

	// What a token of another account, for another audience, or of one that was not signed here, is good for.
	login := func(role, token string) bool {
		return vault.DoAs(t, "", "POST", "auth/kubernetes/login", map[string]any{"role": role, "jwt": token}).Status == http.StatusOK
	}
	issue := cluster.issue(t)
	forged := (&plane{key: harness.NewKey(t, "one", "ES256")}).issue(t)
	for _, c := range []struct {
		what, role, token string
		in                bool
	}{
		{"the gateway opens", "keybearer-data", issue("keybearer", "keybearer", "vault"), true},
		{"the gateway does not seal", "keybearer-control", issue("keybearer", "keybearer", "vault"), false},
		{"a sidecar has a role of its own", "keybearer-data", issue("booking", "booking", "vault"), false},
		{"a sidecar does not seal", "keybearer-control", issue("booking", "booking", "vault"), false},
		{"nor does another account of its namespace open", "keybearer-booking", issue("booking", "default", "vault"), false},
		{"an account of that name elsewhere is another one", "keybearer-data", issue("shop", "keybearer", "vault"), false},
		{"a token for the API server is none for Vault", "keybearer-data", issue("keybearer", "keybearer", issuer), false},
		{"a token that the cluster did not sign", "keybearer-data", forged("keybearer", "keybearer", "vault"), false},
	} {
		if login(c.role, c.token) != c.in {
			t.Errorf("%s: not so", c.what)
		}
	}
}
