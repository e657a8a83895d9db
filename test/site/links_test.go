package site

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/keybearer/keybearer/test/harness"
)

// forge is where the site leads to for what is not in docs/.
const forge = "https://github.com/keybearer/keybearer/"

// page is what a file of the site refers to, and what can be referred to in it.
type page struct {
	refs     []string // what links lead to
	parts    []string // what the page is made of: pictures, scripts, styles
	ids      []string
	code     []string // what stands in the text as code
	headings []int    // the levels of those of the text, in their order
	inline   []string // code and styles that stand in the page
}

func read(t *testing.T, file string) (p page) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	p.add(root, false)
	return p
}

func (p *page) add(n *html.Node, text bool) {
	for _, a := range n.Attr {
		switch {
		case a.Key == "href" && n.Data == "a":
			p.refs = append(p.refs, a.Val)
		case a.Key == "href" || a.Key == "src":
			p.parts = append(p.parts, a.Val)
		case a.Key == "srcset":
			for _, candidate := range strings.Split(a.Val, ",") {
				p.parts = append(p.parts, strings.Fields(candidate)[0])
			}
		case a.Key == "id":
			p.ids = append(p.ids, a.Val)
		case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
			p.inline = append(p.inline, a.Key+"="+a.Val)
		case a.Key == "class" && slices.Contains(strings.Fields(a.Val), "vp-doc"):
			text = true
		}
	}
	if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
		p.inline = append(p.inline, n.FirstChild.Data)
	}
	if text && len(n.Data) == 2 && n.Data[0] == 'h' && n.Data[1] >= '1' && n.Data[1] <= '6' {
		p.headings = append(p.headings, int(n.Data[1]-'0'))
	}
	if text && n.Data == "code" {
		p.code = append(p.code, strings.Join(strings.Fields(content(n)), " "))
	}
	for c := range n.ChildNodes() {
		p.add(c, text)
	}
}

func content(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// Every link, picture, script and style of every page is a file of the site, and every part of a page that a link names is there. Links that leave the
// site are well formed, and those to the forge name what is in the repository; nothing else leaves it.
func TestNoLinkIsBroken(t *testing.T) {
	root, all, abroad := site(t), map[string]page{}, map[string]bool{}
	for _, name := range pages(t) {
		all["/"+name] = read(t, filepath.Join(root, name))
	}
	inside := 0
	for name, p := range all {
		for i, ref := range slices.Concat(p.refs, p.parts) {
			to, err := url.Parse(ref)
			switch {
			case err != nil:
			case to.Scheme != "" || to.Host != "":
				abroad[ref] = true
				if err = foreign(to); i >= len(p.refs) {
					err = errors.New("it is elsewhere, and a part of the page")
				}
			default:
				inside++
				err = there(root, all, name, to)
			}
			if err != nil {
				t.Errorf("%s refers to %s: %v", name, ref, err)
			}
		}
	}
	if inside < 1000 {
		t.Errorf("only %d links were found", inside)
	}
	t.Logf("%d links inside; %d addresses outside, which are not asked", inside, len(abroad))
	t.Log(strings.Join(slices.Sorted(maps.Keys(abroad)), "\n"))
}

// there says why a reference within the site leads nowhere.
func there(root string, all map[string]page, from string, to *url.URL) error {
	target := from
	if to.Path != "" {
		target = path.Join(path.Dir(from), to.Path)
		if strings.HasPrefix(to.Path, "/") {
			target = path.Clean(to.Path)
		}
		if strings.HasSuffix(to.Path, "/") {
			target = path.Join(target, "index.html")
		}
	}
	if info, err := os.Stat(filepath.Join(root, target)); err != nil || info.IsDir() {
		return fmt.Errorf("there is no %s", target)
	}
	if to.Fragment != "" && !slices.Contains(all[target].ids, to.Fragment) {
		return fmt.Errorf("%s has no part %q", target, to.Fragment)
	}
	return nil
}

// foreign says what is wrong with an address that is not asked. One of the reader's own machine may stand in a page, and becomes a link.
func foreign(to *url.URL) error {
	if addr, err := netip.ParseAddr(to.Hostname()); err == nil && addr.IsLoopback() {
		return nil
	}
	if to.Scheme != "https" || !strings.Contains(to.Hostname(), ".") || to.User != nil {
		return errors.New("not an https address of a host")
	}
	if rest, ok := strings.CutPrefix(to.String(), forge); ok {
		kind, file, _ := strings.Cut(rest, "/main/")
		info, err := os.Stat(filepath.Join(harness.Repository(), file))
		if err != nil || (kind == "tree") != info.IsDir() {
			return fmt.Errorf("the repository has no such %s", kind)
		}
	}
	return nil
}

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)

// The pages at the top of the repository lead into docs/, too: to files that are there and, on the site as on a forge, to the parts of pages that are named.
func TestLinksOfTheRepositoryIntoTheDocs(t *testing.T) {
	found := 0
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} {
		b, err := os.ReadFile(filepath.Join(harness.Repository(), name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markdownLink.FindAllStringSubmatch(string(b), -1) {
			to, err := url.Parse(m[1] + m[2])
			if err != nil || to.Scheme != "" || to.Path == "" {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(harness.Repository(), to.Path)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, to)
				continue
			}
			file, ok := strings.CutPrefix(to.Path, "docs/")
			if !ok || !strings.HasSuffix(file, ".md") {
				continue
			}
			if ids := read(t, filepath.Join(site(t), built(file))).ids; to.Fragment != "" && !slices.Contains(ids, to.Fragment) {
				t.Errorf("%s links to %s, and the page has no such part", name, to)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d links were found", found)
	}
}
