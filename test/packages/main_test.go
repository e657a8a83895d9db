// Package packages tests what is released: the Debian package in an empty Debian, the quickstart in it by the words of its page alone, the image's sources, the bill of
// materials, and that the same source gives the same bytes.
package packages

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// work is a directory for what all tests share.
var work string

func run(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "kb-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(work)
	return m.Run()
}

// TestMain runs the tests in a network and mount namespace of their own: the documentation's ports are free there, whatever else runs on the machine, and
// what is mounted goes with the tests.
func TestMain(m *testing.M) {
	const inside = "KEYBEARER_OWN_NAMESPACES"
	if os.Getenv(inside) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v\n%s", err, out)
			os.Exit(1)
		}
		os.Exit(run(m))
	}
	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), inside+"=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := again.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(max(exit.ExitCode(), 1))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "the tests of the package need namespaces of their own, hence root (make test sees to it): %v\n", err)
		os.Exit(1)
	}
}
