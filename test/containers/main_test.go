// Package containers runs what deploy/ holds, and what docs/containers.md and docs/kubernetes.md tell people to type, where there is neither Docker nor
// Kubernetes: the containers' files under chroot, as their users, in network namespaces of the tests' own, with a real Vault and a real
// PostgreSQL. Caddyfiles and scripts are taken as they stand, paths, ports and names included.
package containers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// destination is the address of api.example.com: a public one, which is this namespace's own.
const destination = "93.184.215.14"

// gateway is Keybearer's address on the network of the apps.
const gateway = "192.0.2.1"

// TestMain begins anew in a network of its own, which has loopback and the addresses above and leads nowhere, and in which names are what it says.
func TestMain(m *testing.M) {
	if os.Getenv("KEYBEARER_OWN_NETWORK") == "" {
		if err := enter(); err != nil {
			fmt.Fprintln(os.Stderr, "a network namespace is needed, and root for it:", err)
			os.Exit(1)
		}
	}
	hosts, err := os.CreateTemp("", "kb-hosts-")
	if err == nil {
		_, err = fmt.Fprintf(hosts, "127.0.0.1 localhost vault postgres\n%s keybearer keybearer.keybearer.svc\n%s api.example.com\n", gateway, destination)
	}
	if err == nil {
		err = hosts.Chmod(0o644)
	}
	if err == nil {
		err = exec.Command("mount", "--bind", hosts.Name(), "/etc/hosts").Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "names:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.Remove(hosts.Name())
	_ = os.RemoveAll(tree())
	os.Exit(code)
}

// enter starts this program again in namespaces of its own.
func enter() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	const up = "ip link set lo up && ip address add " + destination + "/32 dev lo && exec \"$@\""
	args := append([]string{"unshare", "--net", "--mount", "sh", "-c", up, "sh"}, os.Args...)
	return syscall.Exec(unshare, args, append(os.Environ(), "KEYBEARER_OWN_NETWORK=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin"))
}

// blocks returns the blocks of a page that are marked bash, and as needing what is named.
func blocks(t *testing.T, page, needs string) []string {
	t.Helper()
	var found []string
	for _, part := range strings.Split(text(t, "docs/"+page), "\n<!-- needs: "+needs+" -->\n```bash\n")[1:] {
		block, _, ok := strings.Cut(part, "\n```\n")
		if !ok {
			t.Fatalf("%s: a block without an end", page)
		}
		found = append(found, block+"\n")
	}
	return found
}

// text returns a file of the repository.
func text(t *testing.T, name string) string {
	t.Helper()
	return contents(t, filepath.Join(repository, filepath.FromSlash(name)))
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
