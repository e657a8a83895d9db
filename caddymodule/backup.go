package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// Backup is what [Rest.Backup] has written, and what it has left out on purpose.
type Backup struct {
	Store   string `json:"store"`             // path of the copy
	Keyring string `json:"keyring,omitempty"` // path of the copy of the wrapped scope keys; "": they are not on this machine
	Schema  int    `json:"schema"`            // version of the store's tables
	Change  uint64 `json:"change"`            // number of the last change in it
	Bytes   int64  `json:"bytes"`
	KEK     string `json:"kek,omitempty"` // the key-encryption key, which is not in it
}

// backupTries is how often a backup begins anew because keys were destroyed while it was made.
const backupTries = 3

// Backup writes a copy of the SQLite store, as it is at one moment, and after it one of the local keyring's wrapped keys into dir, which it makes if it is
// not there. A server may run meanwhile. What it has written belongs together, and is on the disk.
//
// The key-encryption key is left out: whoever holds it and the backup holds the secrets. So are the audit log, which nothing ever rewrites, and the
// anchor, which is there to tell a backup from the store.
//
// It returns [keybearer.Invalid] for another store, with how to back that one up; [keybearer.AlreadyExists] when dir holds a backup; and what the store and
// the keyring return.
func (r *Rest) Backup(ctx context.Context, dir string) (Backup, error) {
	store, ok := r.app.store.(*SQLite)
	if !ok {
		return Backup{}, keybearer.NewError(keybearer.Invalid, "the records are in "+r.kind()+", which has backups of its own").
			WithHint("with postgres: " + r.backupCommand() + "; with vault_kv: vault operator raft snapshot save")
	}
	if i, err := store.inspect(ctx); err != nil {
		return Backup{}, err
	} else if !i.Found {
		return Backup{}, keybearer.NewError(keybearer.NotFound, "there is no store at "+store.Path).WithHint("set KEYBEARER_HOME, or name the configuration with --config")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Backup{}, backupFault(err)
	}
	keyring, local := r.app.keyring.(*LocalKeyring)
	b := Backup{Store: filepath.Join(dir, filepath.Base(store.Path))}
	if local {
		b.Keyring = filepath.Join(dir, filepath.Base(keyring.Path)+".ring")
		if keyring.KEK == "" {
			b.KEK = keyring.Path
		}
	}
	for _, path := range []string{b.Store, b.Keyring} {
		if _, err := os.Lstat(path); path != "" && !errors.Is(err, fs.ErrNotExist) {
			return Backup{}, keybearer.NewError(keybearer.AlreadyExists, path+" is there already").WithHint("name another directory for each backup")
		}
	}
	for tries := 1; ; tries++ {
		err := r.copy(ctx, store, keyring, &b)
		if err == nil {
			return b, nil
		}
		for _, path := range []string{b.Store, b.Keyring} {
			if path != "" {
				_ = os.Remove(path) // a part of a backup is none
			}
		}
		if !errors.Is(err, errParted) || tries == backupTries {
			return Backup{}, err
		}
	}
}

// errParted is a store whose keys were destroyed between the two copies, or that has never belonged to the keyring.
var errParted = errors.New("store and keyring do not belong together")

// copy copies the store and then the keyring. Keys only come to a keyring before the store knows of them, so that the later copy has them all, unless
// one was destroyed in between.
func (r *Rest) copy(ctx context.Context, store *SQLite, keyring *LocalKeyring, b *Backup) error {
	if err := sqlstore.CopySQLite(ctx, store.Path, b.Store); err != nil {
		return err
	}
	i, err := sqlstore.InspectSQLite(ctx, b.Store)
	if err != nil {
		return err
	}
	b.Schema, b.Change, b.Bytes = i.Schema, i.Sequence, i.Bytes
	if keyring == nil {
		return nil
	}
	ring, err := os.ReadFile(keyring.String())
	if errors.Is(err, fs.ErrNotExist) && len(i.Scopes) == 0 {
		b.Keyring = ""
		return nil
	}
	if err != nil {
		return backupFault(err)
	}
	if err := writeSynced(b.Keyring, ring); err != nil {
		return err
	}
	kek := keyring.kek
	if keyring.KEK == "" {
		text, err := os.ReadFile(keyring.Path)
		if err != nil {
			return backupFault(err)
		}
		kek = keybearer.NewSecret(string(text))
		clear(text)
	}
	have, err := localkeys.Inspect(localkeys.Config{Path: strings.TrimSuffix(b.Keyring, ".ring"), KEK: kek}) // the copy itself
	if err != nil {
		return err
	}
	for _, s := range i.Scopes {
		if s.Key != nil && s.Former == nil && s.DeletedAt.IsZero() && have[s.Key.Name] < s.Key.Version {
			return keybearer.NewError(keybearer.KeyringUnavailable, "the keyring lacks the key of scope "+s.Name).Wrap(errParted).
				WithHint("keybearer doctor --at-rest tells more")
		}
	}
	b.Bytes += int64(len(ring))
	return nil
}

// writeSynced makes a file of mode 0600 that survives a crash of the machine once it returns.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return backupFault(err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return backupFault(err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return backupFault(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return backupFault(err)
	}
	return nil
}

func backupFault(err error) error {
	return keybearer.NewError(keybearer.StoreUnavailable, "the backup cannot be written").Wrap(err).WithHint("look whether the directory can be written, and has space left")
}
