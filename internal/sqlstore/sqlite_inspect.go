package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/keybearer/keybearer"
)

// InspectSQLite reads the database in the file path, whether a server uses it at the moment or not, and changes nothing. A file that is not there, or
// empty, gives an Inspection with Found unset.
//
// It returns [keybearer.StoreUnavailable] for what [OpenSQLite] would refuse, but for the version of the schema, which is told; a database that
// is damaged is refused as well, after all of it was read.
func InspectSQLite(ctx context.Context, path string) (*Inspection, error) {
	i := &Inspection{Wanted: len(sqliteSteps)}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) && size(path+walSuffix) == 0:
		return i, nil
	case err == nil && info.Size() == 0 && size(path+walSuffix) == 0:
		return i, nil
	}
	db, err := readSQLite(path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	e := &sqliteEngine{path: path}
	i.Bytes = size(path) + size(path+walSuffix)
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&i.Schema); err != nil {
		return nil, e.explain("inspect the store", path, err)
	}
	var sound string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&sound); err != nil {
		return nil, e.explain("inspect the store", path, err)
	}
	if sound != "ok" {
		return nil, keybearer.NewError(keybearer.StoreUnavailable, path+" is damaged").WithHint(restore)
	}
	if err := i.look(ctx, db, sqliteSteps); err != nil {
		return nil, e.explain("inspect the store", path, err)
	}
	return i, nil
}

// readSQLite opens a database for reading, after looking that it is ours. Without a write-ahead log nobody uses it: then SQLite is told
// so, and leaves no file of its own beside it.
func readSQLite(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, unusable(path, err)
	}
	if _, err := inspect(path); err != nil {
		return nil, err
	}
	q := url.Values{"mode": {"ro"}, "_busy_timeout": {busyTimeout}, "_dqs": {"0"}, "_pragma": {"query_only(1)", "trusted_schema(0)"}}
	if _, err := os.Stat(path + walSuffix); errors.Is(err, fs.ErrNotExist) {
		q.Set("immutable", "1")
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, unusable(path, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// CopySQLite writes a copy of the database in the file from, as it is at one moment, into the file to, which must not be there. A server may use it
// meanwhile and is not held up. The copy holds no free pages, has mode 0600 and is on the disk when CopySQLite returns.
//
// It returns [keybearer.StoreUnavailable] when the database cannot be read or the copy not be written, and leaves no part of one behind.
func CopySQLite(ctx context.Context, from, to string) error {
	db, err := readSQLite(from)
	if err != nil {
		return err
	}
	defer db.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // so that it is nobody else's from the beginning; SQLite fills an empty file
	if err != nil {
		return unusable(to, err)
	}
	defer f.Close()
	_, err = db.ExecContext(ctx, "PRAGMA query_only = 0") // the source stays open for reading only
	if err == nil {
		_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = os.Remove(to)
		return (&sqliteEngine{path: from}).explain("copy the store", from, err)
	}
	return syncDirectory(filepath.Dir(to))
}
