package sqlstore_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Some tests need another process. It is this test binary again, with the names of what to do and of the database in
// its environment.
const (
	childRole = "SQLSTORE_TEST_CHILD"
	childPath = "SQLSTORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	path := os.Getenv(childPath)
	switch os.Getenv(childRole) {
	case "":
		os.Exit(m.Run())
	case "commit":
		commitForever(path)
	case "fill":
		fillDisk(path)
	case "hold":
		hold(path)
	case "open as another user":
		openAsNobody(path)
	}
}

// child is another process and what it prints.
type child struct {
	*exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startChild(t *testing.T, role, path string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.CommandContext(t.Context(), exe)}
	c.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// line waits for the next line that the child prints.
func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.lines.Scan() {
		t.Fatal("the child ended early:", c.lines.Err())
	}
	return c.lines.Text()
}

func die(v ...any) {
	fmt.Println(v...)
	os.Exit(1)
}

// describe is an error on one line.
func describe(err error) string {
	e := keybearer.AsError(err)
	return fmt.Sprintf("%s | %s | %s", e.Code, e.Detail, e.Hint)
}

// hold keeps a database open until its input ends.
func hold(path string) {
	s, err := sqlstore.OpenSQLite(unbounded, path)
	if err != nil {
		die(describe(err))
	}
	fmt.Println("held", os.Getpid())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		die(err)
	}
}

// openAsNobody gives up the rights of root, for whom modes do not count, and opens a database.
func openAsNobody(path string) {
	if os.Getuid() == 0 {
		if err := unix.Setgid(nobody); err != nil {
			die(err)
		}
		if err := unix.Setuid(nobody); err != nil {
			die(err)
		}
	}
	s, err := sqlstore.OpenSQLite(unbounded, path)
	if err != nil {
		fmt.Println(describe(err))
		return
	}
	fmt.Println("opened", s.Close())
}

const nobody = 65534

// fillDisk commits until the file system is full, which is played by a limit on the size of files; then it checks that the
// store still answers, gives it room again and commits once more.
func fillDisk(path string) {
	s, err := sqlstore.OpenSQLite(unbounded, path)
	if err != nil {
		die(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		die(err)
	}
	small := unix.Rlimit{Cur: 1 << 20, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &small); err != nil {
		die(err)
	}
	told := 0
	s.Watch(func(c []keybearer.Change) { told += len(c) })
	acknowledged, failures := 0, 0
	for i := range 10_000 {
		name := fmt.Sprintf("full%d", i)
		_, err := s.Commit(unbounded, keybearer.Batch{Writes: []keybearer.Write{{Scope: &keybearer.Scope{
			ID: keybearer.NewID(keybearer.IDScope), Name: name, Description: strings.Repeat("x", 3000),
		}}}})
		if err == nil {
			acknowledged++
			fmt.Println("acknowledged", name)
			continue
		}
		fmt.Println("failed", describe(err))
		if _, err := s.Scope(unbounded, "full0"); err != nil {
			die("reading while full:", err)
		}
		if _, err := s.Scope(unbounded, name); keybearer.CodeOf(err) != keybearer.NotFound {
			die("reading what was not committed:", err)
		}
		if failures++; failures == 5 {
			break
		}
	}
	if told != acknowledged {
		die("watchers were told of", told, "changes,", acknowledged, "were acknowledged")
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		die(err)
	}
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "again"}
	if _, err := s.Commit(unbounded, keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}); err != nil {
		die("after there was room again:", describe(err), err)
	}
	fmt.Println("acknowledged again")
	fmt.Println("done")
	if os.Getenv("SQLSTORE_TEST_CLOSE") != "" {
		if err := s.Close(); err != nil {
			die(err)
		}
	}
}
