package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// However many pages an export takes, it has every event once, in order.
func TestExportReadsEveryPage(t *testing.T) {
	home := stockedHome(t, stocked)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	client, err := admin.NewClient(admin.ClientConfig{Socket: filepath.Join(home, "admin.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	q := admin.AuditQuery{Kind: keybearer.ChangeEvent}
	want, err := allEvents(t.Context(), client, q, 1000)
	if err != nil || len(want) < len(stocked) {
		t.Fatalf("%d events, %v", len(want), err)
	}
	for _, size := range []int{1, 3, len(want) - 1, len(want), len(want) + 1} {
		got, err := allEvents(t.Context(), client, q, size)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d a page (-want +got):\n%s", size, d)
		}
	}
}
