package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keybearer/keybearer/test/harness"
)

// debian is an empty Debian in a directory: what debootstrap's minbase has, and a mirror on its own disk.
type debian struct {
	t   *testing.T
	dir string
}

// empty is the Debian that all others lie upon, unpacked once.
var empty = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(work, "debian")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	c := exec.Command("bash", "-euc", `. test/tools; tar -C "$0" --numeric-owner -xpf "$(debian_root)"`, dir)
	c.Dir = harness.Repository()
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("the empty Debian (make setup makes it): %w\n%s", err, out)
	}
	return dir, err
})

func newDebian(t *testing.T) *debian {
	t.Helper()
	lower, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	// What a test writes is kept in memory, and goes with the mount.
	own := harness.Dir(t)
	d := &debian{t: t, dir: filepath.Join(own, "root")}
	script := `mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount --rbind /dev "$1/root/dev"`
	if out, err := exec.Command("bash", "-euc", script, lower, own).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "--recursive", "--lazy", own).CombinedOutput(); err != nil {
			t.Fatalf("umount: %v\n%s", err, out)
		}
	})
	return d
}

// try types a bash script at a terminal, as root in the Debian, and returns what it showed. All its processes end with it.
func (d *debian) try(script string) (output string, code int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 4*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc="+filepath.Join(d.dir, "proc"), "chroot", d.dir,
		"/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
		"/bin/bash", "-euo", "pipefail", d.script(script))
	master, slave, err := terminal()
	if err != nil {
		d.t.Fatal(err)
	}
	defer master.Close()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	err = c.Start()
	_ = slave.Close()
	if err != nil {
		d.t.Fatal(err)
	}
	var shown bytes.Buffer
	_, _ = io.Copy(&shown, master) // ends with an error when nobody holds the terminal any more
	err = c.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		d.t.Fatalf("%v, %v\n%s", err, ctx.Err(), &shown)
	}
	return strings.ReplaceAll(shown.String(), "\r\n", "\n"), c.ProcessState.ExitCode()
}

// terminal makes a pseudo-terminal.
func terminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	return master, slave, err
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

// tool returns the path of a tool of test/tools.
func tool(t *testing.T, name string) string {
	t.Helper()
	c := exec.Command("bash", "-euc", `. test/tools; tool "$0"`, name)
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
