package localkeys

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

var unavailable = &keybearer.Error{Code: keybearer.KeyringUnavailable}

// refusal checks that a keyring does not open, and that the error names the file and the fix.
func refusal(t *testing.T, c Config, file, detail, hint string) {
	t.Helper()
	k, err := Open(c)
	if err == nil {
		_ = k.Close()
		t.Fatal("the keyring opened")
	}
	e := keybearer.AsError(err)
	if !errors.Is(err, unavailable) || !strings.Contains(e.Detail, file) || !strings.Contains(e.Detail, detail) || !strings.Contains(e.Hint, hint) {
		t.Errorf("code %s, %q, hint %q; want %s, %q, hint %q", e.Code, e.Detail, e.Hint, file, detail, hint)
	}
}

func write(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// filled makes a keyring with some history, closes it, and returns its path and a ciphertext of key "a" in context {1}.
func filled(t *testing.T) (path string, sealed []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keyring.key")
	k := openKeyring(t, path)
	ctx := t.Context()
	for _, name := range []string{"a", "b", "gone"} {
		if err := k.CreateKey(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	sealed, err := k.Seal(ctx, "a", keybearer.SealContext{1}, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.RotateKey(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := k.DestroyKey(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return path, sealed
}

func wantWhole(t *testing.T, k *Keyring, sealed []byte) {
	t.Helper()
	ctx := t.Context()
	if v, err := k.KeyVersion(ctx, "a"); v != 2 || err != nil {
		t.Errorf("key a: version %d, %v", v, err)
	}
	if got, err := k.Open(ctx, "a", keybearer.SealContext{1}, sealed); string(got) != "secret" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if v, err := k.KeyVersion(ctx, "b"); v != 1 || err != nil {
		t.Errorf("key b: version %d, %v", v, err)
	}
	if err := k.CreateKey(ctx, "gone"); keybearer.CodeOf(err) != keybearer.AlreadyExists {
		t.Errorf("a destroyed name was forgotten: %v", err)
	}
}

func TestReopen(t *testing.T) {
	path, sealed := filled(t)
	wantWhole(t, openKeyring(t, path), sealed)
	for _, file := range []string{path, path + ".ring", path + ".lock"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.tmp")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// The forms of the files are promises: old ones must be read for ever.
func TestForms(t *testing.T) {
	path, _ := filled(t)
	if text := read(t, path); !regexp.MustCompile(`^keybearer key-encryption key 1\n[A-Za-z0-9+/]{43}=\n$`).Match(text) {
		t.Errorf("KEK file %q", text)
	}
	wrapped := `[A-Za-z0-9+/]{80}` // 12 + 32 + 16 bytes
	if text := read(t, path+".ring"); !regexp.MustCompile(`^keybearer ring 1\nkek [A-Za-z0-9+/]{22}==\nkey a 1 ` + wrapped + `\nkey a 2 ` + wrapped +
		`\nkey b 1 ` + wrapped + `\ndestroyed gone\nmac [A-Za-z0-9+/]{43}=\n$`).Match(text) {
		t.Errorf("ring file %q", text)
	}
}

// A file written by the first version of the format, with its secret.
func TestGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.key")
	write(t, path, read(t, "testdata/keyring.key"), 0o600)
	write(t, path+".ring", read(t, "testdata/keyring.key.ring"), 0o600)
	k := openKeyring(t, path)
	for _, line := range strings.Split(strings.TrimSpace(string(read(t, "testdata/sealed.txt"))), "\n") {
		got, err := k.Open(t.Context(), "scope-one", keybearer.SealContext{1, 2, 3}, []byte(line))
		if err != nil || string(got) != "the golden secret" {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	if err := k.CreateKey(t.Context(), "scope-gone"); keybearer.CodeOf(err) != keybearer.AlreadyExists {
		t.Errorf("destroyed name: %v", err)
	}
}

func TestDirectoryMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	refusal(t, Config{Path: filepath.Join(dir, "keyring.key")}, dir, "does not exist", "mkdir -m 700 "+dir)
}

func TestModes(t *testing.T) {
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o777} {
		for _, suffix := range []string{"", ".ring"} {
			path, sealed := filled(t)
			if err := os.Chmod(path+suffix, mode); err != nil {
				t.Fatal(err)
			}
			refusal(t, Config{Path: path}, path+suffix, "others than its owner", "chmod 600 "+path+suffix)
			if err := os.Chmod(path+suffix, 0o400); err != nil { // what the hint says, or less
				t.Fatal(err)
			}
			k := openKeyring(t, path)
			wantWhole(t, k, sealed)
			_ = k.Close()
		}
	}
}

func TestOwner(t *testing.T) {
	path, _ := filled(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	me := os.Geteuid()
	if err := checkFile(path, info, me); err != nil {
		t.Errorf("own file: %v", err)
	}
	err = checkFile(path, info, me+1)
	if me == 0 { // root may have made it for us
		if err != nil {
			t.Errorf("root's file: %v", err)
		}
		if err := os.Chown(path, 4711, -1); err != nil {
			t.Fatal(err)
		}
		refusal(t, Config{Path: path}, path, "belongs to uid 4711, and keybearer runs as uid 0", "chown 0 "+path)
	} else if e := keybearer.AsError(err); err == nil || !strings.Contains(e.Detail, "belongs to uid "+strconv.Itoa(me)) {
		t.Errorf("someone else's file: %v", err)
	}
}

func TestNotAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.key")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refusal(t, Config{Path: path}, path, "not a regular file", "name a file")
}

func TestWrongKEK(t *testing.T) {
	path, _ := filled(t)
	other, _ := filled(t)
	write(t, path, read(t, other), 0o600)
	refusal(t, Config{Path: path}, path+".ring", "is not the one", "belong together")
	refusal(t, Config{Path: path, KEK: someKEK()}, path+".ring", "is not the one", "belong together")
}

func TestMissingFiles(t *testing.T) {
	path, sealed := filled(t)
	kek, ring := read(t, path), read(t, path+".ring")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and no new one is made meanwhile
		refusal(t, Config{Path: path}, path, "key-encryption key "+path+" is not", "restore "+path)
	}
	write(t, path, kek, 0o600)
	if err := os.Remove(path + ".ring"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		refusal(t, Config{Path: path}, path+".ring", "are not", "restore "+path+".ring")
	}
	write(t, path+".ring", ring, 0o600)
	wantWhole(t, openKeyring(t, path), sealed)
}

// The process may die between making the ring and making the KEK.
func TestDiedAtFirstUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.key")
	k := openKeyring(t, path)
	_ = k.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path+".tmp", []byte("half a ke"), 0o600)
	k = openKeyring(t, path)
	if err := k.CreateKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedKEK(t *testing.T) {
	path, _ := filled(t)
	good := read(t, path)
	for name, text := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-10], "header only": []byte("keybearer key-encryption key 1\n"),
		"garbage": []byte("garbage"), "zeros": make([]byte, 75), "base64 alone": bytes.Split(good, []byte("\n"))[1],
		"31 bytes":   []byte("keybearer key-encryption key 1\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n"),
		"two keys":   append(bytes.Clone(good), bytes.Split(good, []byte("\n"))[1]...),
		"line break": append(append(bytes.Clone(good[:40]), '\n'), good[40:]...),
	} {
		t.Run(name, func(t *testing.T) {
			write(t, path, text, 0o600)
			refusal(t, Config{Path: path}, path, "does not hold a key-encryption key", "backup")
		})
	}
	write(t, path, bytes.Replace(good, []byte("key 1\n"), []byte("key 2\n"), 1), 0o600)
	refusal(t, Config{Path: path}, path, "newer keybearer", "run that version")
}

func TestDamagedRing(t *testing.T) {
	path, sealed := filled(t)
	good := read(t, path+".ring")
	lines := bytes.SplitAfter(good, []byte("\n"))
	join := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	cases := map[string][]byte{
		"empty": {}, "garbage": []byte("garbage\n"), "zeros": make([]byte, 4096),
		"a key's line gone":      join(lines[0], lines[1], lines[2], lines[4], lines[5], lines[6]),
		"keys exchanged":         join(lines[0], lines[1], lines[4], lines[3], lines[2], lines[5], lines[6]),
		"destroyed name gone":    join(lines[0], lines[1], lines[2], lines[3], lines[4], lines[6]),
		"key renamed":            bytes.Replace(good, []byte("key b 1"), []byte("key c 1"), 1),
		"mac gone":               join(lines[:6]...),
		"more behind the mac":    append(bytes.Clone(good), "key z 1 AAAA\n"...),
		"blank line at the end":  append(bytes.Clone(good), '\n'),
		"line break at the end":  good[:len(good)-1],
		"carriage returns in it": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
	}
	for i := range good {
		cases["cut to "+strconv.Itoa(i)] = good[:i]
		changed := bytes.Clone(good)
		changed[i] ^= 1
		cases["changed at "+strconv.Itoa(i)] = changed
	}
	for name, text := range cases {
		write(t, path+".ring", text, 0o600)
		k, err := Open(Config{Path: path})
		if err == nil {
			_ = k.Close()
			t.Errorf("%s: it opens", name)
			continue
		}
		e := keybearer.AsError(err)
		if e.Code != keybearer.KeyringUnavailable || !strings.Contains(e.Detail, path+".ring") || e.Hint == "" {
			t.Errorf("%s: %s %q, hint %q", name, e.Code, e.Detail, e.Hint)
		}
	}
	write(t, path+".ring", []byte("keybearer ring 2\n"), 0o600)
	refusal(t, Config{Path: path}, path+".ring", "newer keybearer", "run that version")
	write(t, path+".ring", good, 0o600)
	wantWhole(t, openKeyring(t, path), sealed)
}

func TestSecondProcess(t *testing.T) {
	path, sealed := filled(t)
	k := openKeyring(t, path)
	refusal(t, Config{Path: path}, path, "in use by process "+strconv.Itoa(os.Getpid()), "stop that process")
	wantWhole(t, k, sealed)
	_ = k.Close()
	openKeyring(t, path)
}

func someKEK() keybearer.Secret {
	return keybearer.NewSecret(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32)))
}

func TestGivenKEK(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.key")
	open := func(text string) (*Keyring, error) { return Open(Config{Path: path, KEK: keybearer.NewSecret(text)}) }
	k, err := open(someKEK().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.CreateKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_ = k.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a KEK file was made: %v", err)
	}
	write(t, path, []byte("not looked at"), 0o644)
	for _, text := range []string{someKEK().Reveal() + "\n", "keybearer key-encryption key 1\n" + someKEK().Reveal() + "\n"} {
		if k, err = open(text); err != nil {
			t.Fatal(err)
		}
		if v, err := k.KeyVersion(t.Context(), "a"); v != 1 || err != nil {
			t.Errorf("version %d, %v", v, err)
		}
		_ = k.Close()
	}
	for _, text := range []string{"a passphrase", "c2hvcnQ=", someKEK().Reveal()[:40], someKEK().Reveal() + " x", strings.Repeat("00", 32)} {
		_, err := open(text)
		if e := keybearer.AsError(err); err == nil || !strings.Contains(e.Hint, "openssl rand -base64 32") {
			t.Errorf("%v, %q", err, e.Hint)
		} else if strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes the key: %v", err)
		}
	}
}

// A change that cannot be written is refused, and leaves everything as it was.
func TestUnwritable(t *testing.T) {
	path, sealed := filled(t)
	k := openKeyring(t, path)
	before := read(t, path+".ring")
	// A directory in the way of the temporary file, with something in it, cannot be removed: not even by root.
	if err := os.MkdirAll(filepath.Join(path+".ring.tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, rotated := k.RotateKey(ctx, "a")
	for what, err := range map[string]error{"create": k.CreateKey(ctx, "new"), "rotate": rotated, "destroy": k.DestroyKey(ctx, "a")} {
		if !errors.Is(err, unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !bytes.Equal(before, read(t, path+".ring")) {
		t.Error("the ring file changed")
	}
	wantWhole(t, k, sealed)
	if err := os.RemoveAll(path + ".ring.tmp"); err != nil {
		t.Fatal(err)
	}
	if err := k.CreateKey(ctx, "new"); err != nil {
		t.Errorf("once it can be written again: %v", err)
	}
}

func TestNames(t *testing.T) {
	k := openKeyring(t, filepath.Join(t.TempDir(), "keyring.key"))
	for _, name := range []string{"a", "A-1_b.c", strings.Repeat("x", 128)} {
		if err := k.CreateKey(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "-a", "a-", "a b", "a\nb", "a/b", "a:b", "é", strings.Repeat("x", 129)} {
		if err := k.CreateKey(t.Context(), name); keybearer.CodeOf(err) != keybearer.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}
