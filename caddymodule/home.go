package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
)

// Home returns the directory that holds whatever the configuration names no other place for: KEYBEARER_HOME, or
// "keybearer" in the user's data directory ($XDG_DATA_HOME, or else ~/.local/share). It is absolute; it need not exist.
func Home() (string, error) {
	if dir := os.Getenv("KEYBEARER_HOME"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keybearer"), nil
	}
	if dir := os.Getenv("HOME"); dir != "" {
		return filepath.Abs(filepath.Join(dir, ".local", "share", "keybearer"))
	}
	return "", errors.New("neither KEYBEARER_HOME nor HOME is set: set KEYBEARER_HOME to a directory of your own")
}

// locate returns the absolute path that the configuration means: *path with its placeholders resolved, or name in the
// home directory when there is none.
func locate(path *string, name string) error {
	if *path == "" {
		home, err := Home()
		*path = filepath.Join(home, name)
		return err
	}
	text, err := caddy.NewReplacer().ReplaceOrErr(*path, true, true)
	if err != nil {
		return err
	}
	*path, err = filepath.Abs(text)
	return err
}

// notDirectory returns an error when path is one.
func notDirectory(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return errors.New(path + " is a directory: give the path of a file in it")
	}
	return nil
}

// makeParent makes the directory of a file, for its owner alone, if it is not there.
func makeParent(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%w: make the directory of %s, or name another path", err, path)
	}
	return nil
}
