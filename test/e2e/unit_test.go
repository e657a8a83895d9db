package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// unitFile is the systemd unit, as it is shipped.
func unitFile() string {
	return filepath.Join(harness.Repository(), "packaging/systemd/keybearer.service")
}

// exposed is the most that systemd may find open in the unit, out of 100: a service without any restriction has 96. What is left is that it uses
// the network, sees other processes' metadata under /proc, and shares the machine's users, whose uids it is told by unix sockets.
const exposed = 14

// systemd understands every line of the unit, and finds it closed.
func TestTheUnitIsClosed(t *testing.T) {
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(unitFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"LimitCORE=0", "LimitMEMLOCK=infinity", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes",
		"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "UMask=0077", "User=keybearer",
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the unit does not say %s", line)
		}
	}
	dir := harness.Dir(t)
	// The program that is tested: verify looks whether it is there.
	here := strings.NewReplacer("/usr/bin/keybearer", binary).Replace(string(text))
	unit := harness.WriteFile(t, filepath.Join(dir, "keybearer.service"), []byte(here))
	analyze := func(args ...string) harness.Result {
		return harness.Run(t, harness.Command{Path: "systemd-analyze", Args: args, Dir: dir, Env: []string{"SYSTEMD_LOG_LEVEL=warning", "SYSTEMD_PAGER="}}, "")
	}
	if r := analyze("verify", "--man=no", unit); r.Code != 0 || strings.Contains(r.Stderr, "keybearer.service:") {
		t.Errorf("verify: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := analyze("security", "--offline=yes", fmt.Sprint("--threshold=", exposed), unit); r.Code != 0 {
		t.Errorf("security: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	harness.WriteFile(t, unit, []byte(strings.Replace(here, "ProtectSystem=", "ProtectSystems=", 1)))
	if r := analyze("verify", "--man=no", unit); !strings.Contains(r.Stderr, "keybearer.service:") {
		t.Error("the test cannot tell: verify takes a line that systemd does not know")
	}
}

// calls returns the system calls that the unit allows.
func calls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(unitFile())
	if err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for line := range strings.Lines(string(text)) {
		list, ok := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter=")
		if !ok {
			continue
		}
		list, deny := strings.CutPrefix(list, "~")
		for _, call := range expand(t, strings.Fields(list)) {
			if deny {
				allowed = slices.DeleteFunc(allowed, func(c string) bool { return c == call })
			} else {
				allowed = append(allowed, call)
			}
		}
	}
	// As systemd has it, whatever the unit says.
	allowed = append(allowed, expand(t, []string{"@default"})...)
	slices.Sort(allowed)
	return slices.Compact(allowed)
}

// expand replaces sets of system calls by what systemd says is in them.
func expand(t *testing.T, names []string) []string {
	t.Helper()
	var all []string
	for _, name := range names {
		if !strings.HasPrefix(name, "@") {
			all = append(all, name)
			continue
		}
		r := harness.Run(t, harness.Command{Path: "systemd-analyze", Args: []string{"syscall-filter", name}, Env: []string{"SYSTEMD_PAGER="}}, "")
		if r.Code != 0 {
			t.Fatalf("syscall-filter %s: %s", name, r.Stderr)
		}
		var inner []string
		for line := range strings.Lines(r.Stdout) {
			if f := strings.Fields(line); len(f) == 1 && line[0] == ' ' && f[0] != "#" {
				inner = append(inner, f[0])
			}
		}
		all = append(all, expand(t, inner)...)
	}
	return all
}

// With nothing but the system calls, address families and memory rights that the unit allows, and no capability, the server starts, serves, changes,
// rotates, reloads and stops as ever; and what the unit denies is denied.
func TestTheServerNeedsNoOtherSystemCalls(t *testing.T) {
	launcher := filepath.Join(harness.Dir(t), "seccomp")
	build := harness.Run(t, harness.Command{
		Path: "go", Args: []string{"build", "-o", launcher, "."}, Dir: filepath.Join(harness.Repository(), "test/seccomp"),
		Env: append(os.Environ(), "CGO_ENABLED=0"),
	}, "")
	if build.Code != 0 {
		t.Fatalf("build: %s", build.Stderr)
	}
	allowed := calls(t)
	list := harness.WriteFile(t, filepath.Join(filepath.Dir(launcher), "calls"), []byte(strings.Join(allowed, "\n")))
	own(t, filepath.Dir(launcher))
	for _, denied := range []string{"mount", "ptrace", "setuid", "chown", "bpf", "setrlimit", "process_vm_readv", "keyctl", "io_uring_setup"} {
		if slices.Contains(allowed, denied) {
			t.Errorf("the unit allows %s", denied)
		}
	}
	// The test can tell.
	if r := harness.Run(t, harness.Command{Path: launcher, Args: []string{list, "/bin/chmod", "u+s", "/nowhere"}, User: &nobody}, ""); r.Code != 1 {
		t.Errorf("a program does not run under the filter: exit code %d, %s", r.Code, r.Stderr)
	}
	if r := harness.Run(t, harness.Command{Path: launcher, Args: []string{list, "/usr/bin/nice", "true"}, User: &nobody}, ""); !strings.Contains(r.Stderr, "not permitted") {
		t.Errorf("a call that the unit denies is allowed: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}

	w := prepareWorld(t)
	w.asNobody(t, nil, []string{"prlimit", "--core=0:0", "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"}, launcher, list)
	w.billing("api.example.com")
	api := w.recorder("api.example.com", nil)
	w.serves(t, api)
	w.must("", "scope", "rotate-key", "docs")
	w.must("", "grant", "add", "docs/crm", "user:ada", "view")
	w.must("", "audit", "tail")
	w.serves(t, api)
	w.Reload()
	harness.Await(t, "the reload", 20*time.Second, func() error {
		if !strings.Contains(w.Output(t), "SIGUSR1") {
			return fmt.Errorf("%s", w.Output(t))
		}
		return nil
	})
	w.serves(t, api)
	doctor := w.must("", "doctor")
	for _, line := range []string{"process: dumpable +ok", "process: core dumps +ok", "process: new privileges +ok", "anchor: file +ok"} {
		if !matches(doctor, line) {
			t.Errorf("doctor does not say %q:\n%s", line, doctor)
		}
	}
	w.Stop(t)
	if code := w.ExitCode(); code != 0 {
		t.Errorf("exit code %d\n%s", code, w.Output(t))
	}
	if output := w.Output(t); strings.Contains(output, "not permitted") {
		t.Errorf("it wanted more than it may:\n%s", output)
	}
}
