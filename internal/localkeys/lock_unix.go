//go:build unix

package localkeys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/keybearer/keybearer"
)

// lockFile takes the lock that belongs to a path, until the file is closed or the process ends. The file stays: to remove
// it would let two processes hold two locks.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fileError(path+".lock", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		_ = f.Close()
		who := "another process"
		if p := strings.TrimSpace(string(pid)); p != "" {
			who = "process " + p
		}
		return nil, &keybearer.Error{
			Code: keybearer.KeyringUnavailable, Op: "open keyring", Detail: "the keyring " + path + " is in use by " + who,
			Hint: "stop that process, or give this one a keyring of its own with KEYBEARER_HOME",
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fileError(path+".lock", err)
	}
	if f.Truncate(0) == nil { // a courtesy to whoever is refused, which a full disk does not stand in the way of
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// ownerOf returns the uid that owns a file.
func ownerOf(info fs.FileInfo, _ int) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
