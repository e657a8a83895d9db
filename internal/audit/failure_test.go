//go:build unix

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keybearer/keybearer"
)

// Parts of some tests run in a child process, to be limited or killed: the test binary again, with this variable set to
// the name of the part.
const childVariable = "KEYBEARER_AUDIT_TEST_CHILD"

var children = map[string]func(dir string) error{"limited": limitedChild, "killed": killedChild}

func TestMain(m *testing.M) {
	name, dir, ok := strings.Cut(os.Getenv(childVariable), "=")
	if !ok {
		os.Exit(m.Run())
	}
	if err := children[name](dir); err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVariable+"="+name+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// notices collects what Notify is told.
type notices struct {
	mu   sync.Mutex
	list []string
}

func (n *notices) notify(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, string(keybearer.CodeOf(err)))
}

func (n *notices) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

func TestDevFull(t *testing.T) {
	var heard notices
	l := openLog(t, "/dev/full", Options{Queue: 8, Notify: heard.notify})
	if err := l.Ready(); err != nil {
		t.Errorf("unready before anything was written: %v", err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			err := l.Record(t.Context(), event("a"))
			if keybearer.CodeOf(err) != keybearer.AuditUnavailable || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Record: %v", err)
			}
		})
	}
	wg.Wait()
	wantCode(t, l.Ready(), keybearer.AuditUnavailable)
	for range 100 {
		l.Post(event("p")) // must return though nothing can be written
	}
	if l.Dropped() == 0 {
		t.Error("100 posts into a queue of 8 that cannot be written, and none dropped")
	}
	wantCode(t, l.Close(), keybearer.AuditUnavailable)
	if l.Dropped() != 100 {
		t.Errorf("Dropped is %d after Close, want 100", l.Dropped())
	}
	if diff := cmp.Diff([]string{"audit_unavailable"}, heard.all()); diff != "" {
		t.Error(diff)
	}
}

// limitedChild writes until the file may not grow any more, then is given room again. It stands for a full disk.
func limitedChild(dir string) error {
	path := filepath.Join(dir, "audit.jsonl")
	limit := func(n uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: 1 << 40})
	}
	if err := limit(10_000); err != nil {
		return err
	}
	resumed := make(chan error, 1000)
	l, err := OpenFile(path, Options{Notify: func(err error) { resumed <- err }})
	if err != nil {
		return err
	}
	if os.Getenv("KEYBEARER_AUDIT_TEST_TORN") != "" {
		l.file.regular = false // as if it could not be truncated
	}
	var mu sync.Mutex
	acknowledged, refused := []string{}, 0
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("r%d/%d", g, i)
				err := l.Record(context.Background(), event(id))
				mu.Lock()
				if err == nil {
					acknowledged = append(acknowledged, id)
				} else if refused++; keybearer.CodeOf(err) != keybearer.AuditUnavailable {
					panic(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused == 0 || len(acknowledged) == 0 {
		return fmt.Errorf("%d refused and %d acknowledged: the limit did not work as meant", refused, len(acknowledged))
	}
	info, err := os.Stat(path) // small events may fit where a batch did not; from here on none does
	if err != nil {
		return err
	}
	if err := limit(uint64(info.Size())); err != nil {
		return err
	}
	if l.Record(context.Background(), event("late")) == nil || l.Ready() == nil {
		return errors.New("ready though nothing can be written")
	}
	for len(resumed) > 0 {
		<-resumed
	}
	l.Post(event("posted")) // kept until there is room again
	if err := limit(1 << 30); err != nil {
		return err
	}
	if os.Getenv("KEYBEARER_AUDIT_TEST_ALONE") == "" {
		if err := l.Record(context.Background(), event("after")); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
		acknowledged = append(acknowledged, "after")
	} else {
		<-resumed // by itself
	}
	if err := l.Ready(); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := l.Close(); err != nil {
		return err
	}
	fmt.Println(strings.Join(acknowledged, "\n"))
	return nil
}

func TestFullDisk(t *testing.T) {
	for _, variable := range []string{"", "KEYBEARER_AUDIT_TEST_ALONE", "KEYBEARER_AUDIT_TEST_TORN"} {
		t.Run(variable, func(t *testing.T) {
			dir := t.TempDir()
			cmd := child(t, "limited", dir)
			cmd.Env = append(cmd.Env, variable+"=1")
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			data, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			counts, broken := map[string]int{}, 0
			for line := range strings.Lines(string(data)) {
				e, err := ParseEvent([]byte(line))
				if err != nil {
					broken++
				} else if counts[e.ID]++; e.Kind == keybearer.ChangeEvent {
					counts[e.Action]++
				}
			}
			if torn := variable == "KEYBEARER_AUDIT_TEST_TORN"; broken > 0 && !torn {
				t.Errorf("%d broken lines", broken)
			} else if torn && broken != 1 {
				t.Errorf("%d broken lines, want the one that could not be undone", broken)
			}
			for id := range strings.FieldsSeq(string(out)) {
				if counts[id] != 1 {
					t.Errorf("acknowledged event %s is %d times in the file", id, counts[id])
				}
			}
			if counts["posted"] != 1 {
				t.Errorf("the event posted meanwhile is %d times in the file", counts["posted"])
			}
			if counts[ResumeAction] == 0 {
				t.Error("nothing marks the gap")
			}
		})
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	l := openLog(t, path, Options{})
	record := func(id string) {
		t.Helper()
		if err := l.Record(t.Context(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(to string) {
		t.Helper()
		if err := os.Rename(path, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() {
		t.Helper()
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	record("a")
	reopen() // nothing has moved
	record("b")
	rename("audit.jsonl.1")
	record("c") // not noticed yet
	reopen()
	record("d")
	rename("audit.jsonl.2")
	if err := os.WriteFile(path, nil, 0o640); err != nil { // logrotate's create
		t.Fatal(err)
	}
	reopen()
	record("e")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reopen()
	record("f")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	reopen()
	record("g")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{"audit.jsonl.1": {"a", "b", "c"}, "audit.jsonl.2": {"d"}, "audit.jsonl": {"g"}} {
		if diff := cmp.Diff(want, ids(fileEvents(t, filepath.Join(dir, file)))); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

// The log notices a rotation by itself, though nothing is written.
func TestRotationIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, path, Options{})
		defer l.Close()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkEvery) // of the bubble's clock
		synctest.Wait()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the path was not opened anew: %v", err)
		}
	})
}

// A log whose path cannot be opened any more refuses, instead of writing to a file that nobody can find.
func TestLostDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	l := openLog(t, path, Options{})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantCode(t, l.Reopen(), keybearer.AuditUnavailable)
	wantCode(t, l.Ready(), keybearer.AuditUnavailable)
	wantCode(t, l.Record(t.Context(), event("a")), keybearer.AuditUnavailable)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), event("b")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := fileEvents(t, path)
	if len(got) != 2 || got[0].Action != ResumeAction || got[1].ID != "b" {
		t.Errorf("got %+v", got)
	}
}

func TestOpenRepairsTheEnd(t *testing.T) {
	whole := string(AppendEvent(nil, event("a"))) + "\n" + string(AppendEvent(nil, event("b"))) + "\n"
	for name, end := range map[string]string{
		"whole": "", "half a line": `{"time":"2026`, "line without break": string(AppendEvent(nil, event("c"))),
		"zeros": strings.Repeat("\x00", 9000), "long": strings.Repeat("x", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			if err := os.WriteFile(path, []byte(whole+end), 0o600); err != nil {
				t.Fatal(err)
			}
			l := openLog(t, path, Options{})
			if err := l.Record(t.Context(), event("d")); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"a", "b", "d"}, ids(fileEvents(t, path))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used.jsonl")
	defer openLog(t, used, Options{}).Close()
	for path, hint := range map[string]string{
		filepath.Join(dir, "absent", "audit.jsonl"): "create " + filepath.Join(dir, "absent"),
		dir:  "name a file",
		pipe: "start its reader",
		used: "audit file of its own",
	} {
		l, err := OpenFile(path, Options{})
		if err == nil {
			_ = l.Close()
			t.Errorf("%s: opened", path)
			continue
		}
		wantCode(t, err, keybearer.AuditUnavailable)
		e := keybearer.AsError(err)
		if !strings.Contains(e.Message(), path) || !strings.Contains(e.Advice(), hint) {
			t.Errorf("%s: %q, hint %q, want the file and %q", path, e.Message(), e.Advice(), hint)
		}
	}
	e := openError("/x/y.jsonl", &os.PathError{Op: "open", Path: "/x/y.jsonl", Err: syscall.EACCES})
	if m := keybearer.AsError(e); !strings.Contains(m.Message(), "/x/y.jsonl") || !strings.Contains(m.Advice(), "user that runs") {
		t.Errorf("no permission: %q, hint %q", m.Message(), m.Advice())
	}
}

// What Record returns may be shown to callers: it must not tell where the log is.
func TestRecordErrorHidesThePath(t *testing.T) {
	l := openLog(t, "/dev/full", Options{})
	defer l.Close()
	e := keybearer.AsError(l.Record(t.Context(), event("a")))
	if s := e.Message() + e.Advice(); strings.Contains(s, "/dev/full") {
		t.Errorf("%q", s)
	}
	if !strings.Contains(e.Error(), "/dev/full") {
		t.Errorf("the server's own log does not name the file: %q", e.Error())
	}
}

// A pipe that is read will do as a log.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := openLog(t, path, Options{})
	if _, err := Follow(t.Context(), l, &memoryLedger{}); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Errorf("a feed from a pipe: %v", err)
	}
	if err := l.Record(t.Context(), event("a")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if e, err := ParseEvent(line); err != nil || e.ID != "a" {
		t.Errorf("got %q, %v", line, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
