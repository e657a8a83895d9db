package anchor

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
)

const (
	header  = "keybearer anchor 1\n"
	maxFile = 1 << 20
)

// Entry is the anchor of one store.
type Entry struct {
	ID       string // which store it is
	Kind     string // of store, such as "sqlite"
	Sequence uint64 // highest number of a commit that was seen

	Refused bool   // the store was found to hold less, and nobody has accepted that
	Found   uint64 // number of the last commit that it held then
}

// atLeast notes that the store holds that many. It leaves an entry that is ahead, which another process wrote.
func (e *Entry) atLeast(seq uint64) {
	if seq >= e.Sequence {
		e.Sequence, e.Refused, e.Found = seq, false, 0
	}
}

// ID returns the id of a store, from whatever tells its place from others'.
func ID(place string) string {
	sum := sha256.Sum256([]byte("keybearer anchor " + place))
	return hex.EncodeToString(sum[:8])
}

func encode(entries []Entry) []byte {
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
	b := []byte(header)
	for _, e := range entries {
		b = fmt.Appendf(b, "store %s %s %d", e.ID, e.Kind, e.Sequence)
		if e.Refused {
			b = fmt.Appendf(b, " refused %d", e.Found)
		}
		b = append(b, '\n')
	}
	return fmt.Appendf(b, "sum %s\n", sumOf(b))
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

var errDamaged = errors.New("it is not what was written")

func decode(text []byte) ([]Entry, error) {
	at := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	if !bytes.HasPrefix(text, []byte(header)) || string(text[at:]) != "sum "+sumOf(text[:at])+"\n" {
		return nil, errDamaged
	}
	var entries []Entry
	for line := range strings.Lines(string(text[len(header):at])) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if f[0] != "store" || len(f) != 4 && (len(f) != 6 || f[4] != "refused") {
			return nil, errDamaged
		}
		e := Entry{ID: f[1], Kind: f[2], Refused: len(f) == 6}
		var err, err2 error
		e.Sequence, err = strconv.ParseUint(f[3], 10, 64)
		if e.Refused {
			e.Found, err2 = strconv.ParseUint(f[5], 10, 64)
		}
		if errors.Join(err, err2) != nil {
			return nil, errDamaged
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Read returns the anchors in a file, none when there is no file. It returns [keybearer.StoreUnavailable] for a file that cannot be read, is
// damaged, or may be written by others, with what to do about it.
func Read(path string) ([]Entry, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unusable(path, err)
	}
	switch {
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, damaged(path, errDamaged)
	case info.Mode().Perm()&0o022 != 0:
		return nil, keybearer.NewError(keybearer.StoreUnavailable, fmt.Sprintf("the anchor %s may be written by others (mode %04o)", path, info.Mode().Perm())).
			WithHint("chmod 600 " + path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	entries, err := decode(text)
	if err != nil {
		return nil, damaged(path, err)
	}
	return entries, nil
}

// update lets edit change the entry of a store and writes the file. The entry is new, with nothing but its id, when the file has none: fresh
// says so. When update returns nil what was written survives a power failure; at any time before there is the old file or the new one.
func update(path, id string, edit func(e *Entry, fresh bool)) error {
	unlock, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return unusable(path, err)
	}
	defer unlock()
	entries, err := Read(path)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(entries, func(e Entry) bool { return e.ID == id })
	fresh := at < 0
	if fresh {
		at = len(entries)
		entries = append(entries, Entry{ID: id})
	}
	edit(&entries[at], fresh)
	if err := replace(path, encode(entries)); err != nil {
		return unusable(path, err)
	}
	return nil
}

// replace is called by one at a time.
func replace(path string, content []byte) (err error) {
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a process that was killed
		return err
	}
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = keepOwner(f, path)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(temporary, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func damaged(path string, err error) error {
	return keybearer.NewError(keybearer.StoreUnavailable, "the anchor "+path+" is damaged").Wrap(err).
		WithHint("see to it that the store is not older than it was, then remove the file: the next start makes one from what the store holds")
}

func unusable(path string, err error) error {
	e := keybearer.NewError(keybearer.StoreUnavailable, "the anchor "+path+" cannot be read or written").Wrap(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.WithHint("make its directory, for the user that runs keybearer alone: mkdir -m 700 " + filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return e.WithHint("give it, and its directory, to the user that runs keybearer, or name another place with the option anchor")
	}
	return e.WithHint("look at the cause; free space on its disk, if it is full; the option anchor names another place")
}
