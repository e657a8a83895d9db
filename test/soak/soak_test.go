package soak

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const root = "../.."

// Every long test and every fuzz target has a row in the page, and every row a test.
func TestThePageTellsOfEveryLongTest(t *testing.T) {
	long, err := Find(root, "Test", "Soak")
	if err != nil {
		t.Fatal(err)
	}
	fuzz, err := Find(root, "Fuzz")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := Read(filepath.Join(root, Page))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, r := range rows {
		told[r.Name()] = true
	}
	missing := map[string]string{}
	for _, x := range long {
		missing[x.String()] = "KEYBEARER_SOAK=1 " + x.line() + " (KEYBEARER_SOAK=0.01 for a hundredth of it)"
	}
	for _, x := range fuzz {
		missing[x.String()] = "go run ./test/soak/run -time 1m -only " + x.Name + " fuzz"
	}
	if len(missing) < 5 {
		t.Errorf("only %d were found", len(missing))
	}
	for name, command := range missing {
		if !told[name] {
			t.Errorf("%s does not tell of %s: run %s", Page, name, command)
		}
	}
	for name := range told {
		if missing[name] == "" {
			t.Errorf("%s tells of %s, and there is no such test", Page, name)
		}
	}
}

func TestRowsOfOneNameAreReplacedTogether(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const before, after = "# Title\n\nwords\n\n", "\nmore | words\n"
	if err := os.WriteFile(page, []byte(before+head+after), 0o600); err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	a := Row{"a", "1", "ok", day, "KEYBEARER_SOAK=1 go test -race ./x/y -run '^TestSoakA$'"}
	for want, x := range map[string]Test{
		"go test -count=1 -timeout 5h ./x/y -run '^TestSoakA$'":                  {"./x/y", "", "TestSoakA"},
		"go test -C test/m -race -count=1 -timeout 5h . -run '^TestSoakRace$'":   {"./test/m", "test/m", "TestSoakRace"},
		"go test -C test/m -count=1 -timeout 5h ./in/side -run '^TestSoakDeep$'": {"./test/m/in/side", "test/m", "TestSoakDeep"},
	} {
		if got := (Row{Command: x.line()}).Name(); x.line() != want || got != x.String() {
			t.Errorf("%s: %s, named %s", x, x.line(), got)
		}
	}
	a2 := Row{"b", "2", "ok", day, a.Command}
	nested := Row{"n", "3", "ok", day, "KEYBEARER_SOAK=1 go test -C test/m . -run '^TestSoakA$'"}
	fuzz := Row{"f", "4", "ok", day, "go test ./x/y -run '^$' -fuzz '^FuzzA$' -fuzztime 1s"}
	for want, r := range map[string]Row{"./x/y TestSoakA": a, "./test/m TestSoakA": nested, "./x/y FuzzA": fuzz, ". TestSoakA": {Command: "go test . -run '^TestSoakA$'"}} {
		if r.Name() != want {
			t.Errorf("%q is named %q, want %q", r.Command, r.Name(), want)
		}
	}
	for _, rows := range [][]Row{{a, a2, fuzz}, {nested}, {a2}} {
		if err := Write(page, rows); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if want := before + head + nested.String() + "\n" + fuzz.String() + "\n" + a2.String() + "\n" + after; string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if err := Write(page, []Row{{What: "x|y"}}); err == nil {
		t.Error("a cell with a bar was written")
	}
	if _, err := parseRow("| a | b |"); err == nil {
		t.Error("a torn row was read")
	}
}

// Packages are tested side by side, and none may lose the rows of another.
func TestManyWriteAtATime(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	const many = 40
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			if err := Write(page, []Row{{What: Count(i), Command: "go test . -run '^TestSoak" + strings.Repeat("x", i) + "$'"}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	rows, err := Read(page)
	if err != nil || len(rows) != many {
		t.Errorf("%d rows of %d, %v", len(rows), many, err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int{"": 10, "1": 5000, "0.5": 2500, "0.000001": 10} {
		t.Setenv("KEYBEARER_SOAK", text)
		if got := Size(t, 10, 5000); got != want || Long(t) != (text != "") {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"0", "2", "-1", "yes", "NaN"} {
		t.Setenv("KEYBEARER_SOAK", text)
		if _, err := share(); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestClassesThatAreApartAreFound(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	samples := map[string][]float64{}
	for range 20_000 {
		samples["a"] = append(samples["a"], 1000+100*draw.NormFloat64())
		samples["b"] = append(samples["b"], 1000+100*draw.NormFloat64())
		samples["c"] = append(samples["c"], 1010+100*draw.NormFloat64())
	}
	far, which, lines := Apart(samples)
	if far < 7 || !strings.HasSuffix(which, "against c") || len(lines) != 3 {
		t.Errorf("%.1f between %s: %q", far, which, lines)
	}
	delete(samples, "c")
	if near, _, _ := Apart(samples); near >= 4.5 {
		t.Errorf("two of a kind are %.1f apart", near)
	}
}
