package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

var lockedOnFault atomic.Bool

// Harden does to the process what the package promises. Call it first of all, before anything secret is read. Some of what a process could read of itself
// under /proc belongs to root afterwards; limits of memory and processors can still be read.
//
// It does all that can be done and returns what could not be: a service manager may have forbidden a call whose effect it has had itself, so
// [Read] has the last word.
func Harden() error {
	var errs []error
	do := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	do("not dumpable", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	do("no core dump", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	do("no new privileges", noNewPrivs())
	if mayLockAll() {
		// Pages are locked as they are used, so that what the runtime reserves takes no room.
		err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
		lockedOnFault.Store(err == nil)
		do("memory locked", err)
	}
	return errors.Join(errs...)
}

// mayLockAll reports whether nothing limits how much memory is locked: under a limit, memory that is asked for later could not be had.
func mayLockAll() bool {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil && limit.Cur == unix.RLIM_INFINITY {
		return true
	}
	head, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	return unix.Capget(&head, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

// noNewPrivs sets the attribute, which each thread has for itself, for all threads.
func noNewPrivs() error {
	_, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP { // with cgo there may be threads that Go does not know
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// Read returns what holds now. What cannot be found out is taken not to hold.
func Read() State {
	s := State{Supported: true, Dumpable: true, CoreLimit: NoLimit, LockedOnFault: lockedOnFault.Load()}
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil {
		s.Dumpable = v != 0
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &limit) == nil {
		s.CoreLimit = limit.Max
	}
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		s.MemoryLimit = limit.Cur
	}
	tasks, err := filepath.Glob("/proc/self/task/[0-9]*/status")
	s.NoNewPrivs = err == nil && len(tasks) > 0
	for _, task := range tasks {
		if v, err := number(task, "NoNewPrivs:"); v != 1 && !errors.Is(err, os.ErrNotExist) { // a thread may end meanwhile
			s.NoNewPrivs = false
		}
	}
	if v, err := number("/proc/self/status", "VmLck:"); err == nil {
		s.MemoryLocked = v << 10
	}
	swaps, err := os.ReadFile("/proc/swaps") // a head line, and one for each
	s.Swap = err != nil || strings.Count(string(swaps), "\n") > 1
	return s
}

// number returns a line's number in a file such as /proc/self/status.
func number(path, key string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				return strconv.ParseUint(f[0], 10, 64)
			}
		}
	}
	return 0, errors.New("no line " + key)
}
