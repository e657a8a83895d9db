package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// nobody is the user that a server of these tests runs as, and that tries to read its memory.
var nobody = syscall.Credential{Uid: 65534, Gid: 65534}

// own makes files the user's.
func own(t *testing.T, paths ...string) {
	t.Helper()
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, int(nobody.Uid), int(nobody.Gid))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// asNobody starts the server as another user than root, by way of setpriv, which outer leads to with options, and inner goes on from.
func (w *world) asNobody(t *testing.T, env, outer []string, inner ...string) {
	t.Helper()
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(w.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	// Where every user may go: the test's own directories are root's.
	program := filepath.Join(harness.Dir(t), "keybearer")
	copyFile(t, binary, program)
	own(t, filepath.Dir(w.Home), filepath.Dir(w.Config), filepath.Dir(w.ca.File), filepath.Dir(program))
	proxy := harness.Accepts(w.Proxy)
	args := slices.Concat(outer, []string{"--reuid=65534", "--regid=65534", "--clear-groups"}, inner, []string{program, "run", "--config", w.Config, "--adapter", "caddyfile"})
	w.Process = harness.Start(t, harness.Command{
		Name: "keybearer", Path: args[0], Args: args[1:], Env: append(w.Env(), env...), Dir: filepath.Dir(w.Config),
		Ready: func(ctx context.Context) error {
			if err := proxy(ctx); err != nil {
				return err
			}
			conn, err := net.Dial("unix", w.Socket)
			if err == nil {
				err = conn.Close()
			}
			return err
		},
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// reads lets the user read from a file of a process, and returns what that gives.
func reads(t *testing.T, pid int, file string) harness.Result {
	t.Helper()
	return harness.Run(t, harness.Command{
		Path: "sh", Args: []string{"-c", `ls -l "$0" >/dev/null && if [ -d "$0" ]; then ls "$0"/; else head -c 100 "$0"; fi`, fmt.Sprintf("/proc/%d/%s", pid, file)}, User: &nobody, Dir: "/",
	}, "")
}

// dumping has a program run with no limit on core dumps, as some machines are set up, and a small one on locked memory.
var dumping = []string{"prlimit", "--core=unlimited:unlimited", "--memlock=65536:65536", "setpriv"}

// Nobody but root reads the memory of a running server or of a command that waits for a secret, not even its own user; and all of its threads are
// without the right to gain privileges. The doctor says so.
func TestTheServersMemoryIsItsOwn(t *testing.T) {
	w := prepareWorld(t)
	w.asNobody(t, nil, dumping)
	w.billing("api.example.com")
	w.serves(t, w.recorder("api.example.com", nil))

	files := []string{"mem", "environ", "maps", "fd", "auxv", "stack", "syscall"}
	// The test can tell: a process that does nothing about it is read by its user.
	sleep := harness.Start(t, harness.Command{Name: "sleep", Path: "sleep", Args: []string{"1000"}, User: &nobody, Dir: "/"})
	for _, file := range []string{"environ", "maps", "fd"} {
		if r := reads(t, sleep.PID(), file); r.Code != 0 {
			t.Errorf("the test cannot tell whether /proc/<pid>/%s is readable: %s", file, r.Stderr)
		}
	}
	for _, file := range files {
		if r := reads(t, w.PID(), file); r.Code == 0 || r.Stdout != "" {
			t.Errorf("the server's user reads /proc/<pid>/%s", file)
		}
	}
	limit, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", w.PID()))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limit)), " "), "Max core file size 0 0 bytes") {
		t.Errorf("%v\n%s", err, limit)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.PID()))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%v, %v", tasks, err)
	}
	for _, task := range tasks {
		if status, err := os.ReadFile(task); err == nil && !strings.Contains(string(status), "\nNoNewPrivs:\t1\n") {
			t.Errorf("a thread may gain privileges:\n%s", status)
		}
	}
	doctor := w.must("", "doctor")
	for _, line := range []string{"process: dumpable +ok", "process: core dumps +ok +none", "process: new privileges +ok", "keyring: memory +ok +the keys are in locked memory"} {
		if !matches(doctor, line) {
			t.Errorf("doctor does not say %q:\n%s", line, doctor)
		}
	}

	// A command that waits for a secret on its input.
	w.must("", "grant", "add", "docs/crm", fmt.Sprintf("user:uid-%d", nobody.Uid), "edit")
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(harness.Dir(t), "keybearer")
	copyFile(t, binary, program)
	own(t, filepath.Dir(program))
	c := exec.CommandContext(t.Context(), program, "credential", "set-secret", "docs/crm")
	c.Env, c.Dir, c.SysProcAttr = w.Env(), "/", &syscall.SysProcAttr{Credential: &nobody}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Await(t, "the command is its own, too", 10*time.Second, func() error {
		if r := reads(t, c.Process.Pid, "environ"); r.Code == 0 {
			return fmt.Errorf("its user reads its environment")
		}
		return nil
	})
	secret := newCanary()
	if _, err := in.Write([]byte(secret)); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("set-secret: %v", err)
	}
}

// Where memory may be locked without limit none of it is swapped, neither what the process has nor what it gets. Here it may since the
// server has the capability for it.
func TestAllMemoryIsLockedWhereItMayBe(t *testing.T) {
	w := prepareWorld(t)
	w.asNobody(t, nil, []string{"setpriv", "--inh-caps=+ipc_lock", "--ambient-caps=+ipc_lock"})
	if users, err := os.ReadFile("/proc/self/uid_map"); err != nil || !matches(string(users), `^\s*0\s+0\s+4294967295\n$`) {
		// In a user namespace the capability is of no use: the server starts without.
		if doctor := w.must("", "doctor"); strings.Contains(doctor, "all memory stays out of it") {
			t.Errorf("doctor claims\n%s", doctor)
		}
		return
	}
	w.billing("api.example.com")
	w.serves(t, w.recorder("api.example.com", nil))
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", w.PID()))
	if err != nil {
		t.Fatal(err)
	}
	writable, locked := 0, 0
	name := ""
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 5 && strings.Contains(f[0], "-") {
			name = line
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags: "); ok && strings.Contains(flags, "wr ") && !strings.Contains(name, "[v") {
			writable++
			if strings.Contains(flags, "lo ") {
				locked++
			} else if !strings.Contains(flags, "dp ") { // which the kernel drops rather than swaps: the state of its random numbers
				t.Errorf("may be swapped out: %s%s", name, flags)
			}
		}
	}
	if locked < 5 {
		t.Errorf("%d of %d mappings are locked", locked, writable)
	}
	if doctor := w.must("", "doctor"); !matches(doctor, "process: swap +ok +all memory stays out of it") {
		t.Errorf("doctor says\n%s", doctor)
	}
	if rss := w.RSS(t); rss > 300<<20 {
		t.Errorf("%d MiB of memory are in use", rss>>20)
	}
}

// Whatever ends a server that holds secrets, it leaves no core dump; and what the runtime prints then, the stacks of all goroutines, holds none of them.
func TestACrashLeavesNoSecret(t *testing.T) {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV} {
		t.Run(signal.String(), func(t *testing.T) {
			w := prepareWorld(t)
			w.asNobody(t, []string{"GOTRACEBACK=crash"}, dumping)
			w.billing("api.example.com")
			w.serves(t, w.recorder("api.example.com", nil))
			dir := filepath.Dir(w.Config)
			w.Signal(signal)
			select {
			case <-w.Done():
			case <-time.After(20 * time.Second):
				t.Fatal("it did not end")
			}
			if output := w.Output(t); !strings.Contains(output, "goroutine ") {
				t.Errorf("it printed no stacks:\n%s", output)
			}
			if cores := coresIn(t, dir); len(cores) > 0 {
				t.Errorf("it left %v", cores)
			}
			sweep(t, w.planted, []string{w.Home, w.Log, dir}, nil)
			if strings.ContainsAny(string(pattern)[:1], "|/") {
				return // core dumps go elsewhere, where this test cannot tell whose they are
			}
			// The test can tell: another program leaves one there.
			r := harness.Run(t, harness.Command{Path: "prlimit", Args: []string{"--core=unlimited:unlimited", "sh", "-c", fmt.Sprintf("kill -%d $$", signal)}, Dir: dir, User: &nobody}, "")
			if cores := coresIn(t, dir); len(cores) != 1 {
				t.Errorf("the test cannot tell: a program that ends with %d leaves %v", r.Code, cores)
			}
		})
	}
}

func coresIn(t *testing.T, dir string) []string {
	t.Helper()
	cores, err := filepath.Glob(filepath.Join(dir, "*core*"))
	if err != nil {
		t.Fatal(err)
	}
	return cores
}

func matches(text, pattern string) bool { return regexp.MustCompile(pattern).MatchString(text) }
