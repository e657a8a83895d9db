package site

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// Nothing stands inline, so that the policy of site/Caddyfile can forbid it.
func TestNothingIsInline(t *testing.T) {
	for _, name := range pages(t) {
		if inline := read(t, filepath.Join(site(t), name)).inline; len(inline) > 0 {
			t.Errorf("%s: %d times, first %.200s", name, len(inline), inline[0])
		}
	}
}

// A page has one first heading, and below it no level is left out.
func TestHeadingsAreInOrder(t *testing.T) {
	for _, name := range pages(t) {
		if name == "404.html" {
			continue
		}
		before := 0
		for i, level := range read(t, filepath.Join(site(t), name)).headings {
			if (i == 0) != (level == 1) || level > before+1 {
				t.Errorf("%s: heading %d is of level %d, after one of level %d", name, i+1, level, before)
			}
			before = level
		}
		if before == 0 {
			t.Errorf("%s has no heading", name)
		}
	}
}

var (
	fence = regexp.MustCompile("(?ms)^[ >]*```.*?^[ >]*```$")
	code  = regexp.MustCompile("`([^`]+)`")
)

// What a page says in code it says on the site, braces and brackets and all.
func TestNothingThatIsWrittenIsLost(t *testing.T) {
	found := 0
	for _, source := range sources(t) {
		text, err := os.ReadFile(filepath.Join(harness.Repository(), "docs", source))
		if err != nil {
			t.Fatal(err)
		}
		shown := map[string]bool{}
		for _, c := range read(t, filepath.Join(site(t), built(source))).code {
			shown[c] = true
		}
		for _, m := range code.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
			found++
			want := strings.Join(strings.Fields(strings.ReplaceAll(m[1], `\|`, "|")), " ")
			if !shown[want] {
				t.Errorf("docs/%s: %q is not on the site", source, want)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d pieces of code were found", found)
	}
}
