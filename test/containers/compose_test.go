package containers

import (
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// machine is one with Docker, as far as compose.yaml needs it: its volumes are directories of root, and what a service is started with is
// read from that file.
type machine struct {
	t    *testing.T
	root string // what scripts call ROOT
	bin  string // has vault
	file struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
			Volumes     []string
			Healthcheck struct{ Test []string }
		}
	}
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: harness.Dir(t), bin: harness.Dir(t)}
	if err := yaml.Unmarshal([]byte(text(t, "deploy/compose/compose.yaml")), &m.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m.root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"public", "for-postgres", "for-vault", "for-keybearer", "unseal", "vault"} {
		if err := os.Mkdir(filepath.Join(m.root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copied(t, filepath.Join(repository, "deploy/vault"), filepath.Join(m.root, "policies"))
	if err := os.Symlink(harness.VaultBinary(t), filepath.Join(m.bin, "vault")); err != nil {
		t.Fatal(err)
	}
	return m
}

// env is the environment of a service.
func (m *machine) env(service string) []string {
	var env []string
	for name, value := range m.file.Services[service].Environment {
		env = append(env, name+"="+strings.Replace(value, "/public/", m.root+"/public/", 1))
	}
	return append(env, "HOME="+m.root, "ROOT="+m.root, "PATH="+m.bin+":"+os.Getenv("PATH"))
}

// script runs one of deploy/compose as a service does.
func (m *machine) script(name, service string) {
	m.t.Helper()
	r := harness.Run(m.t, harness.Command{Path: "sh", Args: []string{filepath.Join(repository, "deploy/compose", name)}, Env: m.env(service)}, "")
	if r.Code != 0 {
		m.t.Fatalf("%s: exit code %d\n%s%s", name, r.Code, r.Stdout, r.Stderr)
	}
}

// healthy runs the health check of a service and returns its exit code.
func (m *machine) healthy(service string, env ...string) int {
	m.t.Helper()
	test := m.file.Services[service].Healthcheck.Test
	return harness.Run(m.t, harness.Command{Path: "env", Args: test[1:], Env: append(m.env(service), env...)}, "").Code
}

// vault starts Vault with the file that compose.yaml mounts; only its directories are elsewhere.
func (m *machine) vault() *harness.Process {
	m.t.Helper()
	config := strings.NewReplacer("/vault/file", filepath.Join(m.root, "vault"), "/secrets/", filepath.Join(m.root, "for-vault")+"/").Replace(text(m.t, "deploy/compose/vault.hcl"))
	path := harness.WriteFile(m.t, filepath.Join(harness.Dir(m.t), "vault.hcl"), []byte(config))
	return harness.Start(m.t, harness.Command{
		Name: "vault", Path: harness.VaultBinary(m.t), Args: []string{"server", "-config=" + path}, Env: []string{"HOME=" + m.root},
		Ready: harness.Accepts(netip.MustParseAddrPort("127.0.0.1:8200")),
	})
}

// postgres makes a cluster as PostgreSQL's image does, with the script that it is given, and starts it with the command of compose.yaml.
func (m *machine) postgres() {
	t := m.t
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	as := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	initdb, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(initdb) == 0 {
		t.Fatal("PostgreSQL is not installed; make setup installs what the tests need")
	}
	bin, dir := filepath.Dir(initdb[len(initdb)-1]), harness.Dir(t)
	// The script finds /secrets below ROOT.
	if err := os.Symlink("for-postgres", filepath.Join(m.root, "secrets")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(m.root, "for-postgres")} {
		if out, err := exec.Command("chown", "-R", u.Uid+":"+u.Gid, path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	env := append(m.env("postgres"), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "PGHOST="+dir, "LC_ALL=C")
	run := func(program string, args ...string) {
		t.Helper()
		if r := harness.Run(t, harness.Command{Path: program, Args: args, Dir: dir, User: as, Env: env}, ""); r.Code != 0 {
			t.Fatalf("%s: exit code %d\n%s%s", program, r.Code, r.Stdout, r.Stderr)
		}
	}
	run(initdb[len(initdb)-1], "-D", filepath.Join(dir, "data"), "--username=postgres", "--pwfile", filepath.Join(m.root, "secrets/admin-password"),
		"--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync")
	args := strings.Split(strings.ReplaceAll(strings.Join(m.file.Services["postgres"].Command, "\n"), "/secrets/", m.root+"/secrets/"), "\n")
	harness.Start(t, harness.Command{
		Name: "postgres", Path: filepath.Join(bin, args[0]), Args: append(args[1:], "-D", filepath.Join(dir, "data"), "-k", dir), Dir: dir, User: as, StopWith: syscall.SIGINT,
		Env: env, Ready: harness.Accepts(netip.MustParseAddrPort("127.0.0.1:5432")),
	})
	script := filepath.Join(dir, "init.sh")
	if err := os.WriteFile(script, []byte(text(t, "deploy/compose/postgres-init.sh")), 0o755); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "PostgreSQL", 30*time.Second, func() error {
		return (&exec.Cmd{Path: filepath.Join(bin, "pg_isready"), Args: []string{"pg_isready", "-q", "-h", dir}}).Run()
	})
	run("sh", script)
	if code := m.healthy("postgres", "PATH="+bin+":"+os.Getenv("PATH")); code != 0 {
		t.Errorf("PostgreSQL is not healthy: exit code %d", code)
	}
}

// keybearer returns the container of the service, with its volumes as they are now.
func (m *machine) keybearer(ca *harness.CA) *container {
	t := m.t
	t.Helper()
	c := newContainer(t, ca, nil)
	for _, v := range m.file.Services["keybearer"].Volumes {
		parts := strings.Split(v, ":")
		switch source := parts[0]; {
		case strings.HasPrefix(source, "./"):
			c.write(t, parts[1], text(t, "deploy/compose/"+source), 0, 0o644)
		case source == "keybearer": // the image's own /data
		default:
			c.mount(t, filepath.Join(m.root, source), parts[1])
		}
	}
	return c
}

// From nothing to a first authenticated webhook with what deploy/compose has and docs/containers.md says, word for word but for docker itself: the scripts,
// Vault's configuration, PostgreSQL's command, the Caddyfile. The app is on a network that leads to Keybearer alone.
func TestComposeByThePage(t *testing.T) {
	m := newMachine(t)
	m.script("prepare.sh", "prepare")
	before := contents(t, filepath.Join(m.root, "public/ca.pem"))
	m.script("prepare.sh", "prepare")
	if contents(t, filepath.Join(m.root, "public/ca.pem")) != before {
		t.Error("a second start makes everything new")
	}
	m.postgres()
	vault := m.vault()
	if code := m.healthy("vault"); code != 2 {
		t.Errorf("a sealed Vault is healthy: exit code %d", code)
	}
	m.script("vault-setup.sh", "vault-setup")
	if code := m.healthy("vault"); code != 0 {
		t.Errorf("Vault is not healthy: exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(m.root, "unseal/root-token")); err == nil {
		t.Error("the root token is still there")
	}
	// Each secret is its reader's alone.
	for path, owner := range map[string]uint32{"for-keybearer/store-password": 65532, "for-keybearer/data.secret-id": 65532, "for-keybearer/control.role-id": 65532, "for-vault/server.key": 100, "unseal/key": 0} {
		info, err := os.Stat(filepath.Join(m.root, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != owner || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %d's, with mode %04o", path, got, info.Mode().Perm())
		}
	}

	ca := harness.NewCA(t)
	destination := api(t, ca)
	c := m.keybearer(ca)
	probe := m.file.Services["keybearer"].Healthcheck.Test[1:]
	server := c.start(t, m.file.Services["keybearer"].Command, probe)
	apps := newIsland(t, gateway, "192.0.2.2")

	dir := harness.Dir(t)
	copied(t, filepath.Join(repository, "deploy"), dir)
	var page []string
	for _, b := range blocks(t, "containers.md", "docker") {
		if strings.Contains(b, "docker compose") {
			page = append(page, b)
		}
	}
	if len(page) != 5 {
		t.Errorf("%d blocks for compose, not 5", len(page))
	}
	out := shell(t, dir, map[string]string{"docker": `#!/bin/bash
shift # compose
while [[ $1 = -* ]]; do [ "$1" = --profile ] && shift; shift; done
[ "$1" = up ] && exit
[ "$1" = exec ] || { echo "not known here: docker compose $*" >&2; exit 2; }
shift
while [[ $1 = -* ]]; do shift; done
service=$1; shift
case $service in
keybearer) exec ` + c.line() + ` "$@" ;;
app) exec ` + apps.line() + ` env -i PATH="$PATH" $(cat app.env) "$@" ;;
esac
`}, strings.Join(page, ""))
	authenticated(t, destination, 1)
	for _, want := range []string{"received-status=200", "no way out", "status   ready", "billing"} {
		if !strings.Contains(out, want) {
			t.Errorf("the page's commands do not print %q:\n%s", want, out)
		}
	}
	c.wellByDoctor(t)

	// After a restart of the machine Vault is sealed, and the next "up" unseals it; what was there is there.
	server.Stop(t)
	vault.Stop(t)
	m.vault()
	m.script("vault-setup.sh", "vault-setup")
	c.start(t, m.file.Services["keybearer"].Command, probe)
	proxy := "http://docs%2Fcrm:" + token(t, filepath.Join(dir, "deploy/compose/app.env")) + "@keybearer:9080"
	shell(t, dir, nil, apps.line()+" curl -sS --fail --proxy '"+proxy+"' --json '{}' http://api.example.com/hook")
	authenticated(t, destination, 2)
}

// token returns the app's from the file with its environment.
func token(t *testing.T, file string) string {
	t.Helper()
	_, after, _ := strings.Cut(contents(t, file), "http_proxy=http://docs%2Fcrm:")
	token, _, ok := strings.Cut(after, "@")
	if !ok || !strings.HasPrefix(token, "kb_") {
		t.Fatalf("app.env has no token")
	}
	return token
}
