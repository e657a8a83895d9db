package localkeys

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

const childRole = "LOCALKEYS_TEST_UNLOCKED"

// Every key lies in a mapping that is locked, kept out of core dumps, and empty in a child (proc(5): the flags lo, dd and wf).
func TestKeysLieInLockedMemory(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	for i := range 300 { // more than a page
		if err := k.CreateKey(t.Context(), fmt.Sprint("key", i)); err != nil {
			t.Fatal(err)
		}
	}
	slots := []*[32]byte{k.kek.key}
	for _, versions := range k.ring.keys {
		slots = append(slots, versions[0].prk)
	}
	seen := map[*[32]byte]bool{}
	for _, s := range slots {
		flags := flagsOf(t, uintptr(unsafe.Pointer(s)))
		for _, want := range []string{"lo", "dd", "wf"} {
			if !strings.Contains(" "+flags+" ", " "+want+" ") {
				t.Fatalf("a key lies in memory with the flags %s, without %s", flags, want)
			}
		}
		if seen[s] || *s == [32]byte{} {
			t.Error("two keys in one place, or none")
		}
		seen[s] = true
	}
	if f := k.Diagnose(t.Context()); len(f) != 1 || f[0].Err != nil || !strings.Contains(f[0].Detail, "locked") {
		t.Errorf("diagnosed: %+v", f)
	}
}

// flagsOf returns the flags of the mapping that holds an address.
func flagsOf(t *testing.T, at uintptr) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags: "); ok && inside {
			return strings.TrimSpace(flags)
		}
	}
	t.Fatal("no mapping holds a key")
	return ""
}

// What a key leaves is taken for the next one, and cleared before; a change that fails leaves nothing either.
func TestMemoryOfKeysIsUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.key")
	k := openKeyring(t, path)
	if err := k.CreateKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before, _ := memory.state()
	for i := range 200 {
		name := fmt.Sprint("key", i)
		if err := k.CreateKey(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := k.DestroyKey(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	good := k.path
	k.path = filepath.Join(t.TempDir(), "nowhere", "ring")
	if _, err := k.RotateKey(t.Context(), "a"); err == nil {
		t.Error("rotated without a file")
	}
	k.path = good
	if after, _ := memory.state(); after != before {
		t.Errorf("%d keys are in memory, and %d were", after, before)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if after, _ := memory.state(); after != before-2 {
		t.Errorf("after Close %d keys are in memory, want %d", after, before-2)
	}
	for _, slot := range memory.free {
		if *slot != [32]byte{} {
			t.Fatal("what a key left is still there")
		}
	}
	if err := os.Chmod(path+".ring", 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err == nil {
		t.Error("opened a ring that others may read")
	}
	if err := os.WriteFile(path+".ring", []byte("no ring"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: path}); err == nil {
		t.Error("opened what is no ring")
	}
	if after, _ := memory.state(); after != before-2 {
		t.Errorf("after failed attempts %d keys are in memory, want %d", after, before-2)
	}
}

// Where the limit of locked memory does not allow a page, the keyring works and warns.
func TestALowLimitOfLockedMemoryIsAWarning(t *testing.T) {
	if os.Getenv(childRole) != "" {
		k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
		if err := k.CreateKey(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		f := k.Diagnose(t.Context())
		fmt.Println(f[0].Warn, f[0].Err.Advice())
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Without CAP_IPC_LOCK, which root has and no limit holds for.
	c := exec.CommandContext(t.Context(), "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "prlimit", "--memlock=0:0", exe, "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), childRole+"=1")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "true raise the limit of locked memory: LimitMEMLOCK=infinity") {
		t.Errorf("%v\n%s", err, out)
	}
}
