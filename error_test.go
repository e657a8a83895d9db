package keybearer_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"

	"github.com/keybearer/keybearer"
)

// The constants are read from the source, so that one that is missing from the table is found.
func TestEveryCodeHasOneRow(t *testing.T) {
	rows := map[keybearer.Code]int{}
	for _, c := range keybearer.Codes() {
		rows[c.Code]++
	}
	file, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			constants++
			if rows[keybearer.Code(text)] != 1 {
				t.Errorf("%s has %d rows in the table, want 1", text, rows[keybearer.Code(text)])
			}
		}
		return true
	})
	if constants != len(keybearer.Codes()) || constants < 40 {
		t.Errorf("%d constants, %d rows", constants, len(keybearer.Codes()))
	}
}

func TestTheTableIsWellFormed(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	exits := map[int]int{403: keybearer.ExitRefused, 404: keybearer.ExitNotFound, 409: keybearer.ExitConflict, 412: keybearer.ExitConflict, 400: keybearer.ExitUsage}
	for _, c := range keybearer.Codes() {
		if !name.MatchString(string(c.Code)) || c.Title == "" || c.Status < 400 || c.Status > 599 {
			t.Errorf("%+v", c)
		}
		if want, ok := exits[c.Status]; ok && c.Exit != want {
			t.Errorf("%s: status %d has exit code %d, want %d", c.Code, c.Status, c.Exit, want)
		}
		if c.Data && (c.Proxy == "" || c.Hint == "" && c.Code != keybearer.CallerGone) {
			t.Errorf("%s is answered to apps and lacks a hint or a proxy error", c.Code)
		}
		if c.Retry != (c.Status == 503 && c.Data || c.Status == 429) {
			t.Errorf("%s: Retry-After is %v", c.Code, c.Retry)
		}
	}
}

func TestErrorsAreFoundByCode(t *testing.T) {
	cause := errors.New("disk full")
	err := fmt.Errorf("outer: %w", &keybearer.Error{Code: keybearer.StoreUnavailable, Op: "commit", Err: cause})
	if !errors.Is(err, &keybearer.Error{Code: keybearer.StoreUnavailable}) || errors.Is(err, &keybearer.Error{Code: keybearer.NotFound}) || !errors.Is(err, cause) {
		t.Error("errors.Is goes by something else than the code")
	}
	if keybearer.CodeOf(err) != keybearer.StoreUnavailable || keybearer.CodeOf(cause) != keybearer.Internal || keybearer.CodeOf(nil) != "" {
		t.Error("CodeOf")
	}
	if e := keybearer.AsError(cause); e.Code != keybearer.Internal || !errors.Is(e, cause) || keybearer.AsError(nil) != nil {
		t.Error("AsError")
	}
	if keybearer.Code("made_up").Info().Code != keybearer.Internal {
		t.Error("an unknown code has a row of its own")
	}
	e := keybearer.NewError(keybearer.NotFound, "no such scope").WithHint("create it").Wrap(cause)
	if e.Error() != "no such scope: disk full" || e.Message() != "no such scope" || e.Advice() != "create it" {
		t.Errorf("%q %q %q", e.Error(), e.Message(), e.Advice())
	}
}
