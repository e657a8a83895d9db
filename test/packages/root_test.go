package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// debian is an empty Debian in a directory: what debootstrap's minbase has, and a mirror on its own disk.
type debian struct {
	t   *testing.T
	dir string
}

func newDebian(t *testing.T) *debian {
	t.Helper()
	d := &debian{t: t, dir: harness.Dir(t)}
	if out, err := exec.Command("tar", "-C", d.dir, "--numeric-owner", "-xpf", tool(t, "debian_root")).CombinedOutput(); err != nil {
		t.Fatalf("the empty Debian (make setup makes it): %v\n%s", err, out)
	}
	if err := os.Chmod(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "--rbind", "/dev", filepath.Join(d.dir, "dev")).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", filepath.Join(d.dir, "dev")).CombinedOutput(); err != nil {
			t.Fatalf("umount: %v\n%s", err, out)
		}
	})
	return d
}

// command is a bash script as root in the Debian, in processes that all end when it does. A terminal is what it finds as its input and output.
func (d *debian) command(script string) harness.Command {
	return harness.Command{
		Name: "debian", Path: "unshare", Args: []string{
			"--pid", "--fork", "--kill-child", "--mount-proc=" + filepath.Join(d.dir, "proc"), "/usr/sbin/chroot", d.dir,
			"/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
			// The input never ends, as with a person: at its end script(1) would hang up.
			"/bin/bash", "-c", `exec script --quiet --return --flush --command "$0" /dev/null < <(exec sleep infinity)`, "bash -euo pipefail " + d.script(script),
		},
	}
}

func (d *debian) script(text string) string {
	f, err := os.CreateTemp(filepath.Join(d.dir, "tmp"), "script-")
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		d.t.Fatal(err)
	}
	if err := f.Chmod(0o755); err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimPrefix(f.Name(), d.dir)
}

// try runs a script to its end, and returns what it wrote, with the line ends of a terminal taken off.
func (d *debian) try(script string) (output string, code int) {
	d.t.Helper()
	r := harness.Run(d.t, d.command(script), "")
	return strings.ReplaceAll(r.Stdout+r.Stderr, "\r\n", "\n"), r.Code
}

// do is try for a script that must succeed.
func (d *debian) do(script string) string {
	d.t.Helper()
	out, code := d.try(script)
	if code != 0 {
		d.t.Fatalf("exit code %d of\n%s\n%s", code, script, out)
	}
	return out
}

// put copies a file of this machine into a directory of the Debian.
func (d *debian) put(file, dir string) {
	d.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(filepath.Join(dir, filepath.Base(file)), string(text))
}

func (d *debian) write(path, text string) {
	d.t.Helper()
	path = filepath.Join(d.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// read returns a file of the Debian; "" if it is not there.
func (d *debian) read(path string) string {
	text, err := os.ReadFile(filepath.Join(d.dir, path))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(text)
}

// tool returns the path of a tool of test/tools, or what a function of it prints.
func tool(t *testing.T, name string) string {
	t.Helper()
	call := ". test/tools; if declare -F " + name + " >/dev/null; then " + name + "; else tool " + name + "; fi"
	c := exec.Command("bash", "-euc", call)
	c.Dir = harness.Repository()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	path := strings.TrimSpace(string(out))
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; make setup installs what the tests need", err)
	}
	return path
}
