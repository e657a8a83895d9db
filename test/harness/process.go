package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command describes a program to start.
type Command struct {
	Name  string   // for logs
	Path  string   // program, looked up in PATH and the sbin directories
	Args  []string // without the program
	Env   []string // the whole environment but PATH, HOME and TMPDIR, which are passed on unless given
	Dir   string   // working directory; "" is a temporary one
	CPU   string   // processors to stay on, as taskset -c takes them; "" is any
	Files uint64   // limit of open files; 0: as the test has it
	// User is who the program runs as; nil: as the test does.
	User *syscall.Credential
	// StopWith asks the program to end; 0 is SIGTERM.
	StopWith syscall.Signal
	// Ready is polled until it returns nil; nil: the process is not waited for.
	Ready func(context.Context) error
	// Within bounds the wait; 0 is 30 s.
	Within time.Duration
}

// Process is a program that was started.
type Process struct {
	Name string
	Log  string // file with what it wrote to stdout and stderr

	cmd    *exec.Cmd
	done   chan struct{}
	stop   syscall.Signal
	killed bool // on purpose
}

// Start starts a program and waits until it is ready. It ends the test when the program cannot be started, ends early
// or is not ready in time. At the end of the test it is stopped as by [Process.Stop].
func Start(tb TB, c Command) *Process {
	tb.Helper()
	p, err := TryStart(tb, c)
	if err != nil {
		tb.Fatalf("start %s: %v", c.Name, err)
	}
	return p
}

// TryStart is Start that returns the error instead. The process is returned, ended, if it was started at all.
func TryStart(tb TB, c Command) (*Process, error) {
	tb.Helper()
	path, err := find(c.Path)
	if err != nil {
		return nil, err
	}
	args := append([]string{path}, c.Args...)
	if c.CPU != "" {
		taskset, err := find("taskset")
		if err != nil {
			return nil, err
		}
		path, args = taskset, append([]string{taskset, "-c", c.CPU}, args...)
	}
	dir := c.Dir
	if dir == "" {
		dir = Dir(tb)
	}
	log, err := os.CreateTemp(Dir(tb), c.Name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()

	p := &Process{Name: c.Name, Log: log.Name(), done: make(chan struct{}), stop: c.StopWith}
	if p.stop == 0 {
		p.stop = syscall.SIGTERM
	}
	p.cmd = &exec.Cmd{
		Path: path, Args: args, Dir: dir, Env: append(basicEnv(), c.Env...), Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: c.User},
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if c.Files > 0 {
		limit := unix.Rlimit{Cur: c.Files, Max: c.Files}
		if err := unix.Prlimit(p.PID(), unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			return nil, err
		}
	}
	go func() {
		_ = p.cmd.Wait() // the state is in ProcessState
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Stop(tb)
		if tb.Failed() && !p.killed {
			tb.Logf("log of %s:\n%s", p.Name, p.tail(8<<10))
		}
	})
	if c.Ready == nil {
		return p, nil
	}
	within := c.Within
	if within == 0 {
		within = 30 * time.Second
	}
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel() // ends the wait
		case <-ctx.Done():
		}
	}()
	err = await(ctx, within, func() error { return c.Ready(ctx) })
	if err != nil && p.Ended() {
		err = fmt.Errorf("ended with exit code %d: %s", p.ExitCode(), p.tail(4<<10))
	}
	return p, err
}

func basicEnv() []string {
	env := []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	for _, name := range []string{"HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, program); !strings.Contains(program, "/") {
			if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s is not installed; make setup installs what the tests need", program)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ExitCode waits for the end and returns the exit code, -1 for an end by a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal; to a process that has ended it sends none.
func (p *Process) Signal(s syscall.Signal) {
	if !p.Ended() {
		_ = p.cmd.Process.Signal(s) // it may end meanwhile
	}
}

// Stop asks the process to end and waits. If it is still there after 30 s it is killed and the test fails.
func (p *Process) Stop(tb TB) {
	tb.Helper()
	p.Signal(p.stop)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		tb.Errorf("%s did not end within 30 s of %v", p.Name, p.stop)
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Kill ends the process with SIGKILL and waits until it is gone. Its log will not be printed.
func (p *Process) Kill() {
	p.killed = true
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Output returns what the process has written so far.
func (p *Process) Output(tb TB) string {
	tb.Helper()
	b, err := os.ReadFile(p.Log)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return string(b)
}

func (p *Process) tail(n int64) string {
	f, err := os.Open(p.Log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > n {
		_, _ = f.Seek(-n, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// RSS returns the resident memory of the process, in bytes.
func (p *Process) RSS(tb TB) int64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kib, err := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			if err != nil {
				tb.Fatalf("VmRSS: %v", err)
			}
			return kib << 10
		}
	}
	tb.Fatalf("no VmRSS of %s", p.Name)
	return 0
}

// CPU returns the processor time that the process has used, by the nanosecond clock that the kernel keeps for it.
func (p *Process) CPU() (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED of a whole process, see clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^p.PID()<<3|schedClock), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// Result is what a command that ran to its end gave.
type Result struct {
	Stdout, Stderr string
	Code           int // exit code
}

// Run runs a program to its end, for at most two minutes, with stdin as its input.
func Run(tb TB, c Command, stdin string) Result {
	tb.Helper()
	path, err := find(c.Path)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, append(basicEnv(), c.Env...), strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.User}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		tb.Fatalf("%s: %v", c.Path, err)
	}
	if ctx.Err() != nil {
		tb.Fatalf("%s %s: did not end: %v\n%s%s", c.Path, strings.Join(c.Args, " "), ctx.Err(), &stdout, &stderr)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}
