package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// dockerfile is what the final stage of the Dockerfile says.
type dockerfile struct {
	env                       []string
	user, dir                 string
	entrypoint, command, copy []string
	health                    []string
}

func readDockerfile(t *testing.T) (d dockerfile) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Repository(), "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, final, ok := strings.Cut(string(text), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the final stage of the Dockerfile is not FROM scratch")
	}
	list := func(s string) []string {
		return strings.Split(strings.NewReplacer(`"`, "", "[", "", "]", "", " ", "").Replace(s), ",")
	}
	for line := range strings.Lines(final) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "ENV":
			d.env = append(d.env, rest)
		case "USER":
			d.user = rest
		case "WORKDIR":
			d.dir = rest
		case "ENTRYPOINT":
			d.entrypoint = list(rest)
		case "CMD":
			d.command = list(rest)
		case "COPY":
			d.copy = append(d.copy, rest)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, "CMD ")
			d.health = list(command)
		case "", "#", "EXPOSE", "VOLUME":
		default:
			t.Fatalf("instruction %s: this test does not know what it does to the tree", instruction)
		}
	}
	return d
}

// The tree of the image, owned as the Dockerfile says, serves under chroot as its user without any privilege: by its own defaults, and with a
// configuration, for which a request arrives. There is nothing else in it that could help: no shell, no other file.
func TestImageUnderChroot(t *testing.T) {
	d := readDockerfile(t)
	root := harness.Dir(t)
	build := exec.Command("make", "--no-print-directory", "rootfs", "ROOTFS="+root)
	build.Dir = harness.Repository()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make rootfs: %v\n%s", err, out)
	}
	uid, gid, ok := strings.Cut(d.user, ":")
	u, err := strconv.Atoi(uid)
	g, err2 := strconv.Atoi(gid)
	if !ok || err != nil || err2 != nil || u == 0 || g == 0 {
		t.Fatalf("USER %s: it should be two numbers above 0", d.user)
	}
	if want := []string{"--from=build /rootfs /", "--from=build --chown=" + d.user + " /rootfs/data /data"}; strings.Join(d.copy, "|") != strings.Join(want, "|") {
		t.Fatalf("COPY %q, not %q", d.copy, want)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(root, "data")
	if err := os.Chown(data, u, g); err != nil {
		t.Fatalf("chown (needs root): %v", err)
	}
	var files []string
	_ = filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	})
	if got := strings.Join(files, " "); got != "/etc/ssl/certs/ca-certificates.crt /usr/bin/keybearer" {
		t.Errorf("the image holds %s", got)
	}

	ca, dns := harness.NewCA(t), harness.StartDNS(t)
	w := &world{t: t, ca: ca, dns: dns, tokens: map[string]string{}, expected: map[string]field{}}
	api := w.recorder("api.example.com", nil)
	address := harness.Address()
	env := append([]string{}, d.env...)
	for i, e := range env {
		if strings.HasPrefix(e, "KEYBEARER_BIND=") { // the container's interfaces are ours here
			env[i] = "KEYBEARER_BIND=" + address.String()
		}
	}
	env = append(env, fmt.Sprintf("KEYBEARER_ADMIN_PORT=%d", harness.FreePort(t)))
	inside := func(args ...string) harness.Command {
		// No environment but the image's, no user or group but its own, hence no capability: what a container gives.
		chroot := append(append([]string{"-i"}, env...), "/usr/sbin/chroot", "--userspec="+d.user, "--groups=", root)
		return harness.Command{Name: "keybearer", Path: "env", Args: append(append(chroot, d.entrypoint...), args...)}
	}
	cli := func(stdin string, args ...string) string {
		t.Helper()
		r := harness.Run(t, inside(args...), stdin)
		if r.Code != 0 {
			t.Fatalf("keybearer %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
		}
		return strings.TrimSpace(r.Stdout)
	}
	serve := func(args ...string) *harness.Process {
		c := inside(args...)
		proxy := harness.Accepts(netip.AddrPortFrom(address, 9080))
		c.Ready = func(ctx context.Context) error {
			conn, err := net.Dial("unix", filepath.Join(data, "admin.sock"))
			if err != nil {
				return err
			}
			return errors.Join(conn.Close(), proxy(ctx))
		}
		return harness.Start(t, c)
	}

	p := serve(d.command...)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("Uid:\t%[1]s\t%[1]s\t%[1]s\t%[1]s\n", uid); !strings.Contains(string(status), want) || !strings.Contains(string(status), "CapEff:\t0000000000000000\n") {
		t.Errorf("it runs as\n%s", status)
	}
	healthy := func() int {
		c := inside()
		c.Args = append(c.Args[:len(c.Args)-len(d.entrypoint)], d.health...)
		return harness.Run(t, c, "").Code
	}
	if code := healthy(); code != 0 {
		t.Errorf("%s is not healthy: exit code %d", d.health, code)
	}
	cli("", "scope", "create", "docs")
	p.Stop(t)
	if code := healthy(); code != 6 {
		t.Errorf("%s says exit code %d when nobody answers", d.health, code)
	}

	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(harness.Repository(), "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(text), "\n\tkeybearer\n}", "\n\tkeybearer {\n\t\ttrust /data/ca.pem\n\t\tallow_private 127.0.0.0/8\n\t\tresolver "+dns.Addr+"\n\t}\n}", 1)
	for name, content := range map[string]string{"ca.pem": string(pem), "Caddyfile": config} {
		path := harness.WriteFile(t, filepath.Join(data, name), []byte(content))
		if err := os.Chown(path, u, g); err != nil {
			t.Fatal(err)
		}
	}
	serve(append(d.command, "--config", "/data/Caddyfile")...)
	cli("", "scope", "generate-key", "docs") // the scope of the server before
	secret := newCanary()
	cli(secret, "credential", "create", "docs/crm", "--kind", "bearer", "--domain", "api.example.com", "--private")
	w.expected["docs/crm"] = field{"Authorization", "Bearer " + secret}
	w.tokens["billing"] = cli("", "caller", "create", "billing", "--scope", "docs")
	cli("", "grant", "add", "docs/crm", "app:billing", "use")
	w.Keybearer = &harness.Keybearer{Proxy: netip.AddrPortFrom(address, 9080)}
	w.serves(t, api)
}
