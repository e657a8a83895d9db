package keybearer_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

// typed finds in a hint what is typed as it stands: a command, and a name to be filled in, which Markdown would take for a tag.
var typed = regexp.MustCompile(`\bkeybearer [a-z][^,]*|<[a-z]+>(/<[a-z]+>)*`)

// docs/errors.md is the code table in words, written by: go test . -run TestErrorReference -update
func TestErrorReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Errors

Written from the code table (` + "`error.go`" + `) by ` + "`go test . -run TestErrorReference -update`" + `; a test keeps it so.

Every answer of Keybearer's own carries the code three times: in the ` + "`application/problem+json`" + ` body (RFC 9457) as
` + "`code`" + `, in ` + "`Proxy-Status: keybearer; error=…; details=\"<code>\"`" + ` (RFC 9209), and in the audit log. An answer of the
destination carries ` + "`Proxy-Status: keybearer; received-status=<n>`" + ` instead. So an app can always tell whose "403" it got.

## What an app can meet

`)
	row := func(c keybearer.CodeInfo) {
		status := fmt.Sprint(c.Status)
		if c.Code == keybearer.CallerUnauthenticated {
			status = "407 (proxy mode), 401 (else)"
		}
		if c.Retry {
			status += ", Retry-After"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d | %s | %s |\n", c.Code, status, c.Exit, c.Title, typed.ReplaceAllString(c.Hint, "`$0`"))
	}
	head := "| code | HTTP status | exit code | meaning | what to do |\n|---|---|---|---|---|\n"
	b.WriteString(head)
	for _, c := range keybearer.Codes() {
		if c.Data {
			row(c)
		}
	}
	b.WriteString("\n`caller_gone` is never answered: it stands in the audit log when the app hung up.\n\n## What only operators meet\n\n" + head)
	for _, c := range keybearer.Codes() {
		if !c.Data {
			row(c)
		}
	}
	b.WriteString(`
## Exit codes of the CLI

0 done · 1 failed · 2 usage or unacceptable input · 3 not found · 4 refused · 5 conflict · 6 the server cannot be reached
`)
	const path = "docs/errors.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/errors.md is not what the table says; run: go test . -run TestErrorReference -update")
	}
}
