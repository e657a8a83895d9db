package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTableIsThatOfTheRegistries(t *testing.T) {
	want, err := table()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../special_iana.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run go generate ./internal/dial (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		`"10.0.0.0/8",         // Private-Use: RFC 1918`, `"192.0.0.171/32",     // NAT64/DNS64 Discovery: RFC 8880, RFC 7050, Section 2.2`,
		`"5f00::/16",         // Segment Routing (SRv6) SIDs: RFC 9602`,
	} {
		if !strings.Contains(string(got), line) {
			t.Errorf("%s is missing", line)
		}
	}
	// Each row of the registries stands in the table, two blocks of one row by themselves.
	rows := strings.Count(registry4, "\n") + strings.Count(registry6, "\n") - 2 + strings.Count(registry4+registry6, `/32, `)
	if lines := strings.Count(string(got), "\t\""); lines != rows {
		t.Errorf("%d lines for %d rows", lines, rows)
	}
}

func TestARegistryThatIsNoneGivesNoTable(t *testing.T) {
	for mistake, text := range map[string]string{
		"empty":        "",
		"cut":          registry4[:400],
		"other header": strings.Replace(registry4, "Address Block", "Block", 1),
		"no prefix":    strings.Replace(registry4, "10.0.0.0/8", "10.0.0.0", 1),
		"host bits":    strings.Replace(registry4, "10.0.0.0/8", "10.0.0.1/8", 1),
		"no source":    strings.Replace(registry4, "[RFC 1918]", "[1918]", 1),
		"broken row":   strings.Replace(registry4, "10.0.0.0/8,", "10.0.0.0/8,,", 1),
	} {
		if rows, err := read(text); err == nil {
			t.Errorf("%s: %d rows", mistake, len(rows))
		}
	}
}
