package site

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// The navigation names every page of docs/ once, and no other. A folder stands for its README.md and what is beside it.
func TestTheNavigationNamesEveryPage(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(harness.Repository(), "site", "navigation.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []struct {
		Section string   `json:"section"`
		Pages   []string `json:"pages"`
	}
	if err := json.Unmarshal(b, &sections); err != nil {
		t.Fatal(err)
	}
	named := map[string]int{}
	for _, s := range sections {
		for _, page := range s.Pages {
			if strings.HasSuffix(page, "/") {
				page += "README"
			}
			named[page+".md"]++
		}
	}
	for _, page := range sources(t) {
		if folder, file := filepath.Split(page); folder != "" && file != "README.md" {
			continue
		}
		if named[page] != 1 {
			t.Errorf("site/navigation.json names docs/%s %d times", page, named[page])
		}
		delete(named, page)
	}
	for page := range named {
		t.Errorf("site/navigation.json names docs/%s, which is not there", page)
	}
}

// foreignSyntax is what the site's generator would read and a forge would show as it stands.
var foreignSyntax = regexp.MustCompile(`(?m)\A---$|^\s*:::|^\[\[toc\]\]|^<<<|^<!-- *@include|^\s*<(script|style|template)`)

// Pages are plain Markdown.
func TestPagesReadWellOnAForge(t *testing.T) {
	for _, page := range sources(t) {
		text, err := os.ReadFile(filepath.Join(harness.Repository(), "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		if found := foreignSyntax.Find(text); found != nil {
			t.Errorf("docs/%s has %q, which only the site's generator understands", page, found)
		}
	}
}

// sources returns the pages of docs/, by their paths in it.
func sources(t *testing.T) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(filepath.Join(harness.Repository(), "docs")), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) < 30 {
		t.Fatalf("%d pages: %v", len(names), err)
	}
	return names
}
