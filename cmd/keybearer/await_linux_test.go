package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

// Who types the next line before the server listens is served by it; a script is told at once that there is none.
func TestWhoTypesWaitsForTheServer(t *testing.T) {
	home := stockedHome(t, nil)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	socket := filepath.Join(home, "admin.sock")
	if err := os.Rename(socket, socket+".not-yet"); err != nil {
		t.Fatal(err)
	}
	if told := shell(t, home, home, "keybearer scope list 2>&1 || echo $?"); strings.Contains(told, "waiting") || !strings.HasSuffix(told, "\n6\n") {
		t.Errorf("a script got:\n%s", told)
	}
	x := newTerminal(t)
	p := x.start(t, home, "scope", "create", "docs")
	p.shows(t, "server") // waiting for it, or that there is none
	if err := os.Rename(socket+".not-yet", socket); err != nil {
		t.Fatal(err)
	}
	ends(t, p.cmd, 0)
	if names := shell(t, home, home, "keybearer scope list -o name"); !strings.Contains(names, "docs\n") {
		t.Errorf("there are only the scopes:\n%s", names)
	}

	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	p = x.start(t, home, "scope", "list")
	p.shows(t, "no Keybearer server answers at")
	ends(t, p.cmd, keybearer.ExitUnreachable)
}
