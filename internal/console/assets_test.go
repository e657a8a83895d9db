package console

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/internal/signin"
)

// htmx 2.0.11, the file dist/htmx.min.js of the npm package htmx.org. Licence: 0BSD. Whoever changes the file changes this line with it.
const htmxSum = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"

func TestTheVendoredScriptIsTheOnePublished(t *testing.T) {
	body, err := assetFiles.ReadFile("assets/htmx.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != htmxSum {
		t.Errorf("htmx.min.js has the hash %x", sum)
	}
	if !strings.Contains(string(body), `version:"2.0.11"`) {
		t.Error("htmx.min.js is of another version")
	}
}

// What the content security policy would keep from working, and what would load from elsewhere.
func TestNoTemplateHoldsAnythingInlineOrFromElsewhere(t *testing.T) {
	for what, bad := range map[string]*regexp.Regexp{
		"an inline style":              regexp.MustCompile(`(?i)\sstyle\s*=|<style`),
		"an inline handler":            regexp.MustCompile(`(?i)<[^>]*\son[a-z]+\s*=|\shx-on`),
		"an inline script":             regexp.MustCompile(`(?i)<script(\s+(type|defer|async)[^\s>]*)*\s*>|javascript:`),
		"something that is evaluated":  regexp.MustCompile(`(?i)hx-(vals|headers|vars)\s*=\s*["']js:|hx-trigger="([^"]*,)?\s*[\w:.-]+\[`),
		"an address of another server": regexp.MustCompile(`(?i)(src|href|action|hx-get|hx-post|data|poster|srcset)\s*=\s*["']?(https?:)?//`),
	} {
		for _, in := range []struct {
			files fs.FS
			glob  string
		}{{templateFiles, "templates/*.html"}, {assetFiles, "assets/*.svg"}} {
			names, err := fs.Glob(in.files, in.glob)
			if err != nil || len(names) == 0 {
				t.Fatal(err, names)
			}
			for _, name := range names {
				text, err := fs.ReadFile(in.files, name)
				if err != nil {
					t.Fatal(err)
				}
				if found := bad.FindString(string(text)); found != "" {
					t.Errorf("%s holds %s: %s", name, what, found)
				}
			}
		}
	}
	css, err := assetFiles.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)@import|url\(`).FindString(string(css)); found != "" {
		t.Errorf("style.css loads something: %s", found)
	}
}

// Otherwise a page that is left open keeps its reader signed in.
func TestWhatAsksByItselfSaysSo(t *testing.T) {
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	asks, found := regexp.MustCompile(`<[^>]*hx-trigger="[^"]*every [^"]*"(?:[^>"']|"[^"]*"|'[^']*')*>`), 0
	for _, name := range names {
		text, err := fs.ReadFile(templateFiles, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range asks.FindAllString(string(text), -1) {
			if found++; !strings.Contains(tag, `hx-headers='{"`+signin.UnattendedHeader+`":"1"}'`) {
				t.Errorf("%s: %s", name, tag)
			}
		}
		if strings.Contains(string(text), `http-equiv="refresh"`) {
			t.Errorf("%s asks again in a way that cannot say so", name)
		}
	}
	if found == 0 {
		t.Error("nothing asks by itself")
	}
}

// Every name that stands in the head of a file of parts is one that templates can call.
func TestPartsAreThereByTheNamesThatTheyAreToldBy(t *testing.T) {
	for _, name := range []string{
		"input", "area", "choice", "radios", "chips", "box", "field-error", "form-problem", "presence",
		"badge", "icon", "empty", "callout", "copy", "crumbs", "tab", "pages", "use-lines",
	} {
		if pages["credentials"].Lookup(name) == nil {
			t.Errorf("there is no part %s", name)
		}
	}
}
