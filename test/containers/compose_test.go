package containers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// composeFile is as much of compose.yaml as the test follows.
type composeFile struct {
	Services map[string]struct {
		Command     []string
		Environment map[string]string
		Volumes     []string
		Healthcheck struct{ Test []string }
	}
}

// machine is one with Docker, as far as compose.yaml needs it: the volumes are directories of root, and each service that runs has its own as compose.yaml
// says.
type machine struct {
	t    *testing.T
	file composeFile
	root string // of volumes, which scripts call ROOT
	ca   *harness.CA
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: harness.Dir(t), ca: harness.NewCA(t)}
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
	if out, err := exec.Command("cp", "-r", filepath.Join(repository, "deploy/vault"), filepath.Join(m.root, "policies")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// The CLI of Vault by its name.
	if err := os.Symlink(harness.VaultBinary(t), filepath.Join(m.root, "policies", "vault")); err != nil {
		t.Fatal(err)
	}
	return m
}

// script runs one of deploy/compose with the environment of a service.
func (m *machine) script(name, service string, env ...string) harness.Result {
	m.t.Helper()
	for k, v := range m.file.Services[service].Environment {
		env = append(env, k+"="+strings.Replace(v, "/public/", m.root+"/public/", 1))
	}
	return harness.Run(m.t, harness.Command{
		Path: "sh", Args: []string{filepath.Join(repository, "deploy/compose", name)},
		Env: append(env, "ROOT="+m.root, "PATH="+filepath.Join(m.root, "policies")+":"+os.Getenv("PATH"), "HOME="+m.root),
	}, "")
}

func (m *machine) must(name, service string, env ...string) {
	m.t.Helper()
	if r := m.script(name, service, env...); r.Code != 0 {
		m.t.Fatalf("%s: exit code %d\n%s%s", name, r.Code, r.Stdout, r.Stderr)
	}
}

// vault starts Vault with the file of compose.yaml, in which only its directories are others.
func (m *machine) vault() *harness.Process {
	m.t.Helper()
	config := strings.NewReplacer("/vault/file", filepath.Join(m.root, "vault"), "/secrets/", filepath.Join(m.root, "for-vault")+"/").Replace(text(m.t, "deploy/compose/vault.hcl"))
	path := harness.WriteFile(m.t, filepath.Join(harness.Dir(m.t), "vault.hcl"), []byte(config))
	return harness.Start(m.t, harness.Command{
		Name: "vault", Path: harness.VaultBinary(m.t), Args: []string{"server", "-config=" + path}, Env: []string{"HOME=" + m.root},
		Ready: func(context.Context) error { return m.healthy("vault") },
	})
}
