package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestANodeKeepsItsName(t *testing.T) {
	home := filepath.Join(t.TempDir(), "kb")
	t.Setenv("KEYBEARER_HOME", home)
	var names sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			node, err := ownNode()
			if err != nil || !strings.HasPrefix(node, "nod_") {
				t.Errorf("node %q, %v", node, err)
			}
			names.Store(node, true)
		})
	}
	wg.Wait()
	n := 0
	names.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d names were given", n)
	}
	path := filepath.Join(home, "node")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(home); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if node, err := ownNode(); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("node %q, %v from an empty file", node, err)
	}
}
