package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keybearer/keybearer"
)

// ownNode returns the name of this process among those that share a store: what stands in the file "node" in the home
// directory. The first call makes one.
func ownNode() (string, error) {
	var path string
	if err := locate(&path, "node"); err != nil {
		return "", err
	}
	if err := makeParent(path); err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeNode(path); err != nil {
			return "", fmt.Errorf("%w: let this user write to its directory, or name the node in the configuration", err)
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("%w: let this user read it, or name the node in the configuration", err)
	}
	node := strings.TrimSpace(string(b))
	if !nodeName.MatchString(node) {
		return "", fmt.Errorf("%s does not hold the name of a node: remove it, then a new one is made", path)
	}
	return node, nil
}

// makeNode writes a random name, whole or not at all; who comes second leaves that of the first.
func makeNode(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".node-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(keybearer.NewID("nod_") + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
