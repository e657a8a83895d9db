package examples

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/test/harness"
)

var update = flag.Bool("update", false, "write the files of examples/ into the pages that show them")

// shown is a file in a page: a line <!-- file: examples/go/proxy/main.go -->, and the block below it, which test/docs may want a mark for.
var shown = regexp.MustCompile("(?ms)^(<!-- file: (examples/[^ ]+) -->\n(?:\n|<!-- run by: [^\n]+ -->\n)```[a-z]+\n)(.*?)^```$")

// What the pages show is what the tests run. `go test ./test/examples -run TestThePages -update` writes the files into the pages.
func TestThePagesShowTheFiles(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(harness.Repository(), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		now := shown.ReplaceAllStringFunc(string(text), func(block string) string {
			m := shown.FindStringSubmatch(block)
			found[m[2]] = true
			content, err := os.ReadFile(filepath.Join(harness.Repository(), m[2]))
			if err != nil {
				t.Fatalf("%s shows %v", filepath.Base(page), err)
			}
			if strings.Contains(string(content), "\n```") {
				t.Fatalf("%s would end its block", m[2])
			}
			return m[1] + string(content) + "```"
		})
		if *update && now != string(text) {
			harness.WriteFile(t, page, []byte(now))
		} else if d := cmp.Diff(now, string(text)); d != "" {
			t.Errorf("%s shows something else than the files:\n%s", filepath.Base(page), d)
		}
		if n := strings.Count(now, "<!-- file: "); n != len(shown.FindAllString(now, -1)) {
			t.Errorf("%s has a mark with no block below it", filepath.Base(page))
		}
	}
	for _, c := range clients {
		if !found["examples/"+c.file] {
			t.Errorf("no page shows examples/%s", c.file)
		}
	}
	for _, name := range []string{"webhooks/receiver/main.go", "webhooks/receiver.py", "webhooks/signed.py", "node/env-proxy.mjs"} {
		if !found["examples/"+name] {
			t.Errorf("no page shows examples/%s", name)
		}
	}
}
