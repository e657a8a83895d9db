package containers

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

var repository = harness.Repository()

// keybearerUser is who the image runs as.
const keybearerUser = 65532

// container is one of Keybearer's, as a container engine would run it: the tree of the image with mounts in it, its user, no capability, and the environment
// of the image with what is added. Nothing in it can be written to but /data and mounts that say so.
type container struct {
	root string
	env  []string
}

// image makes the tree of the image, once; TestMain removes it.
var image = sync.OnceValues(func() (string, error) {
	build := exec.Command("make", "--no-print-directory", "rootfs", "ROOTFS="+tree())
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make rootfs: %w\n%s", err, out)
	}
	return tree(), os.Chmod(tree(), 0o755)
})

// tree is where it lies.
func tree() string { return filepath.Join(os.TempDir(), fmt.Sprintf("kb-image-%d", os.Getpid())) }

// newContainer begins one with the tree of the image; it trusts this authority as it does the system's.
func newContainer(t *testing.T, ca *harness.CA, env map[string]string) *container {
	t.Helper()
	tree, err := image()
	if err != nil {
		t.Fatal(err)
	}
	c := &container{root: filepath.Join(harness.Dir(t), "root")}
	copied(t, tree, c.root)
	if err := os.Chmod(filepath.Dir(c.root), 0o755); err != nil {
		t.Fatal(err)
	}
	c.own(t, "/data", keybearerUser)
	proc := filepath.Join(c.root, "proc")
	if err := os.Mkdir(proc, 0o555); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "--rbind", "/proc", proc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { // before the tree is removed
		if out, err := exec.Command("umount", "--lazy", proc).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	c.write(t, "/etc/ssl/certs/ca-certificates.crt", contents(t, ca.File), 0, 0o644)
	c.write(t, "/etc/hosts", contents(t, "/etc/hosts"), 0, 0o644)
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ENV (\w+)=(\S+)$`).FindAllStringSubmatch(text(t, "Dockerfile"), -1) {
		all[m[1]] = m[2]
	}
	maps.Copy(all, env)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c.env = append(c.env, name+"="+all[name])
	}
	return c
}

// write puts a file into the container.
func (c *container) write(t *testing.T, path, content string, group int, mode os.FileMode) {
	t.Helper()
	full := filepath.Join(c.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(full, 0, group); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(full, mode); err != nil {
		t.Fatal(err)
	}
}

// copied makes a copy, with owners and modes.
func copied(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// own makes a directory that the user may write to.
func (c *container) own(t *testing.T, path string, user int) {
	t.Helper()
	full := filepath.Join(c.root, path)
	if err := os.MkdirAll(full, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(full, user, user); err != nil {
		t.Fatal(err)
	}
}

// mount makes a copy of a directory, with its owners, as a volume would be there.
func (c *container) mount(t *testing.T, from, path string) {
	t.Helper()
	full := filepath.Join(c.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	copied(t, from, full)
}

// command is one that runs in the container.
func (c *container) command(args ...string) harness.Command {
	user := strconv.Itoa(keybearerUser)
	in := append([]string{"--no-new-privs", "env", "-i"}, c.env...)
	in = append(in, "/usr/sbin/chroot", "--userspec="+user+":"+user, "--groups=", c.root)
	return harness.Command{Name: "keybearer", Path: "setpriv", Args: append(in, args...)}
}

// line is the command as a line of a shell.
func (c *container) line() string {
	return "setpriv " + strings.Join(c.command().Args, " ")
}

// start starts the server, and waits until a probe succeeds.
func (c *container) start(t *testing.T, args, probe []string) *harness.Process {
	t.Helper()
	command := c.command(append([]string{"/usr/bin/keybearer"}, args...)...)
	p := harness.Start(t, command)
	c.await(t, p, probe)
	return p
}

// await waits until a probe succeeds.
func (c *container) await(t *testing.T, p *harness.Process, probe []string) {
	t.Helper()
	harness.Await(t, "the probe "+strings.Join(probe, " "), 40*time.Second, func() error {
		if p.Ended() {
			t.Fatalf("it ended: %s", p.Output(t))
		}
		if r := harness.Run(t, c.command(probe...), ""); r.Code != 0 {
			return fmt.Errorf("exit code %d: %s%s\n%s", r.Code, r.Stdout, r.Stderr, p.Output(t))
		}
		return nil
	})
}

// do runs the binary in the container; it must succeed.
func (c *container) do(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := harness.Run(t, c.command(append([]string{"/usr/bin/keybearer"}, args...)...), stdin)
	if r.Code != 0 {
		t.Fatalf("keybearer %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// wellByDoctor fails when the doctor finds anything, but for the limit of locked memory, which a test may not be allowed to raise.
func (c *container) wellByDoctor(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(c.do(t, "", "doctor")) {
		if (strings.Contains(line, " warning ") || strings.Contains(line, " failure ")) && !strings.HasPrefix(line, "process: swap ") {
			t.Errorf("doctor: %s", line)
		}
	}
}

// api starts api.example.com.
func api(t *testing.T, ca *harness.CA) *harness.Server {
	t.Helper()
	return harness.StartServer(t, harness.ServerOptions{
		Name: "api", Addr: netip.MustParseAddrPort(destination + ":443"), HTTP2: true,
		TLS: harness.ServerTLS(ca.Issue(t, time.Now().Add(time.Hour), "api.example.com")),
	})
}

// authenticated fails unless the last request that arrived is a POST to /hook with the secret.
func authenticated(t *testing.T, s *harness.Server, n int) {
	t.Helper()
	all := s.All()
	if len(all) != n {
		t.Fatalf("%d requests arrived, not %d", len(all), n)
	}
	a := all[n-1]
	if got := a.Values("Authorization"); a.Method != http.MethodPost || a.Target != "/hook" || len(got) != 1 || got[0] != "Bearer s3cret" {
		t.Errorf("%s %s arrived with %q", a.Method, a.Target, got)
	}
}

var numbers atomic.Int32

// island is a network namespace with one way out: a cable that ends here, at an address like that of a gateway.
type island struct {
	pid  string
	here string // this end's device
}

// newIsland makes one whose address is 192.0.2.<host>, on a network with this end at the address here.
func newIsland(t *testing.T, here, there string) *island {
	t.Helper()
	p := harness.Start(t, harness.Command{Name: "island", Path: "unshare", Args: []string{"--net", "sleep", "infinity"}})
	i := &island{pid: strconv.Itoa(p.PID()), here: fmt.Sprintf("kb%d", numbers.Add(1))}
	own, _ := os.Readlink("/proc/self/ns/net")
	harness.Await(t, "the namespace", 10*time.Second, func() error {
		if other, err := os.Readlink("/proc/" + i.pid + "/ns/net"); err != nil || other == own {
			return fmt.Errorf("%s, %v", other, err)
		}
		return nil
	})
	for _, line := range []string{
		"ip link add " + i.here + " type veth peer name eth0 netns " + i.pid,
		"ip address add " + here + "/24 dev " + i.here,
		"ip link set " + i.here + " up",
		i.line() + " ip link set lo up",
		i.line() + " ip address add " + there + "/24 dev eth0",
		i.line() + " ip link set eth0 up",
	} {
		i.must(t, line)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", i.here).Run() })
	return i
}

// line is what begins a line of a shell that runs in the namespace.
func (i *island) line() string { return "nsenter --net=/proc/" + i.pid + "/ns/net" }

func (i *island) must(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// listen takes connections and says "here" to each.
func listen(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("here")) })}
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }() // ends with ErrServerClosed
}

// shell runs a script with programs of these names in front of all others, each a script too. It must succeed.
func shell(t *testing.T, dir string, programs map[string]string, script string) string {
	t.Helper()
	bin := filepath.Join(harness.Dir(t), "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range programs {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := harness.Run(t, harness.Command{
		Path: "bash", Args: []string{"-euxo", "pipefail", "-c", script}, Dir: dir, Env: []string{"PATH=" + bin + ":" + os.Getenv("PATH")},
	}, "")
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
