// Command seccomp runs a program under the system calls that a systemd unit allows it, where there is no systemd to do so: a filter like the
// one that systemd makes of SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute. Whatever is not allowed fails with EPERM.
//
//	seccomp <file with the names of the calls that are allowed, one a line> <program> [args…]
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "seccomp:", err)
		os.Exit(125)
	}
}

func run(args []string) error {
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	here, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	var allowed []string
	for _, name := range strings.Fields(string(text)) {
		if _, known := here.SyscallNames[name]; known && !slices.Contains([]string{"socket", "mmap", "mprotect", "pkey_mprotect"}, name) {
			allowed = append(allowed, name)
		}
	}
	const exec, write = unix.PROT_EXEC, unix.PROT_WRITE
	with := func(name string, all ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: all}
	}
	argument := func(n uint32, op seccomp.Operation, value uint64) seccomp.Condition {
		return seccomp.Condition{Argument: n, Operation: op, Value: value}
	}
	conditional := []seccomp.NameWithConditions{
		with("mprotect", argument(2, seccomp.BitsNotSet, exec)),
		with("mmap", argument(2, seccomp.BitsNotSet, exec)),
		with("mmap", argument(2, seccomp.BitsNotSet, write)),
	}
	for _, family := range []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6} {
		conditional = append(conditional, with("socket", argument(0, seccomp.Equal, family)))
	}
	filter := seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno, // EPERM
			Syscalls: []seccomp.SyscallGroup{
				{Names: allowed, Action: seccomp.ActionAllow},
				{NamesWithCondtions: conditional, Action: seccomp.ActionAllow},
			},
		},
	}
	if err := seccomp.LoadFilter(filter); err != nil {
		return err
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}
