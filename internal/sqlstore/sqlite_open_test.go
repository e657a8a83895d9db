package sqlstore_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// home returns a directory fit for a database, and the database's path in it.
func home(t *testing.T) (dir, path string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, "keybearer.db")
}

// closed makes a database with one scope in it and closes it.
func closed(t *testing.T, path string) {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	addScope(t, s, "docs")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func addScope(t *testing.T, s *sqlstore.Store, name string) *keybearer.Scope {
	t.Helper()
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: name}
	seq, err := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}})
	if err != nil {
		t.Fatal(err)
	}
	scope.Revision = seq
	return scope
}

// refused checks that the database is not opened, that the error says why, names the file and how to mend it, and that the
// file is left as it was.
func refused(t *testing.T, path, why, file, hint string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err == nil {
		s.Close()
		t.Fatal("it was opened")
	}
	e, ok := errors.AsType[*keybearer.Error](err)
	if !ok || e.Code != keybearer.StoreUnavailable {
		t.Fatalf("got %v, want a StoreUnavailable error", err)
	}
	if !strings.Contains(e.Detail, why) || !strings.Contains(e.Detail, file) || !strings.Contains(e.Hint, hint) {
		t.Errorf("got %q (hint %q), want %q about %s (hint %q)", e.Detail, e.Hint, why, file, hint)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	t.Logf("%s; hint: %s", e.Detail, e.Hint)
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b c%20?#&")
	path := filepath.Join(dir, "key%61bearer?.db")
	s := openAt(t, path)
	addScope(t, s, "docs")
	for file, want := range map[string]os.FileMode{
		filepath.Dir(dir): 0o700 | os.ModeDir, dir: 0o700 | os.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
	} {
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", file, info.Mode(), want)
		}
	}
}

func TestOpenRefusesSharedPlaces(t *testing.T) {
	for _, mode := range []os.FileMode{0o770, 0o720, 0o707, 0o702, 0o777, 0o777 | os.ModeSticky} {
		t.Run(fmt.Sprintf("directory %o", mode), func(t *testing.T) {
			dir, path := home(t)
			chmod(t, dir, mode)
			refused(t, path, "others than its owner", dir, "chmod go-w "+dir)
			chmod(t, dir, 0o700)
			closed(t, path)
		})
	}
	for _, mode := range []os.FileMode{0o711, 0o750, 0o755} {
		t.Run(fmt.Sprintf("directory %o is fine", mode), func(t *testing.T) {
			dir, path := home(t)
			chmod(t, dir, mode)
			closed(t, path)
		})
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		t.Run(fmt.Sprintf("file %o", mode), func(t *testing.T) {
			_, path := home(t)
			closed(t, path)
			chmod(t, path, mode)
			refused(t, path, "others than its owner", path, "chmod 600 "+path)
			chmod(t, path, 0o600)
			closedAgain(t, path)
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// closedAgain checks that a database opens and still holds what closed put into it.
func closedAgain(t *testing.T, path string) {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Scope(t.Context(), "docs"); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":          []byte("this is a text, and a long one, so that there is room for a whole header: " + strings.Repeat("x", 100)),
		"short":         []byte("x"),
		"magic only":    []byte("SQLite format 3\x00"),
		"almost sqlite": append([]byte("SQLite format 2\x00"), make([]byte, 8000)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, path := home(t)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			why := "is not a SQLite database"
			if name == "magic only" {
				why = "another program"
			}
			refused(t, path, why, path, "another file")
		})
	}
	t.Run("another program's", func(t *testing.T) {
		_, path := home(t)
		sqlite(t, path, "CREATE TABLE scopes (id TEXT)")
		chmod(t, path, 0o600)
		refused(t, path, "another program", path, "another file")
	})
	t.Run("a directory", func(t *testing.T) {
		_, path := home(t)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		refused(t, path, "cannot be opened", path, "make sure that it is a file")
	})
	t.Run("below a file", func(t *testing.T) {
		_, path := home(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, filepath.Join(path, "keybearer.db"), "cannot be opened", path, "make sure that it is a file")
	})
	t.Run("newer", func(t *testing.T) {
		_, path := home(t)
		closed(t, path)
		sqlite(t, path, "PRAGMA user_version = 9999")
		refused(t, path, "newer version", path, "install that version")
		sqlite(t, path, fmt.Sprintf("PRAGMA user_version = %d", schemas(t, "sqlite")))
		closedAgain(t, path)
	})
	t.Run("empty beside its log", func(t *testing.T) {
		_, path := home(t)
		closed(t, path)
		if err := os.WriteFile(path+"-wal", []byte("the log of a database that went astray"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, path+".astray"); err != nil {
			t.Fatal(err)
		}
		refused(t, path, "is missing or empty, but", path+"-wal", "put back")
	})
}

// sqlite runs a statement on a database that nobody has open.
func sqlite(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// openAtOnce opens a store that the test itself closes.
func openAtOnce(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNoRights: a file or directory that this user may not write gives an error that names it. It runs as another user, as modes
// do not bind root.
func TestNoRights(t *testing.T) {
	for _, c := range []struct {
		name      string
		file, dir os.FileMode // modes; the owner is the user that tries
		removed   string      // a file taken away before
		want      string
	}{
		{"read-only file", 0o400, 0o700, "", "%s may not be read and written by this user"},
		{"unreadable file", 0o000, 0o700, "", "%s may not be read and written by this user"},
		{"read-only directory without a lock", 0o600, 0o500, ".lock", "%s.lock may not be read and written by this user"},
		{"read-only directory", 0o600, 0o500, "", "%s or its directory may not be written"},
		{"all well", 0o600, 0o700, "", "opened <nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, err := os.MkdirTemp("", "sqlstore") // unlike t.TempDir, one that another user may enter
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(top) })
			chmod(t, top, 0o711)
			dir := filepath.Join(top, "home")
			path := filepath.Join(dir, "keybearer.db")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			closed(t, path)
			if c.removed != "" {
				if err := os.Remove(path + c.removed); err != nil {
					t.Fatal(err)
				}
			}
			if os.Getuid() == 0 {
				for _, file := range []string{dir, path, path + ".lock"} {
					if err := os.Chown(file, nobody, nobody); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
				}
			}
			chmod(t, path, c.file)
			chmod(t, dir, c.dir)
			t.Cleanup(func() { chmod(t, dir, 0o700) })
			line := startChild(t, "open as another user", path).line(t)
			want := c.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf("store_unavailable | "+want+" | ", path)
			}
			if !strings.HasPrefix(line, want) {
				t.Errorf("got %q, want %q", line, want)
			}
			t.Log(line)
		})
	}
}

// TestLink: a database behind a symbolic link is the same database, and has one lock.
func TestLink(t *testing.T) {
	_, path := home(t)
	other, link := home(t)
	closed(t, path)
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	s := openAtOnce(t, link)
	if _, err := s.Scope(t.Context(), "docs"); err != nil {
		t.Error(err)
	}
	refused(t, path, "is in use by process", path, "stop that process")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(other); err != nil || len(entries) != 1 {
		t.Errorf("beside the link: %v, %v", entries, err)
	}
	closedAgain(t, path)
}

// TestClosed: to use a store after its end is a fault, but one that is told.
func TestClosed(t *testing.T) {
	_, path := home(t)
	s := openAtOnce(t, path)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := s.Scope(t.Context(), "docs")
	_, err2 := s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: &keybearer.Scope{ID: "scp_x", Name: "docs"}}}})
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable || keybearer.CodeOf(err2) != keybearer.StoreUnavailable {
		t.Errorf("read: %v; commit: %v", err, err2)
	}
}
