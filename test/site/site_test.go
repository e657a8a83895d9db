// Package site tests the documentation's site: it is built once, without a network, and looked through for what leads nowhere; then the real
// binary serves it as site/Caddyfile says, and Chromium reads it.
package site

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

const version = "v0.0.0-test"

var place string

func TestMain(m *testing.M) {
	var err error
	if place, err = os.MkdirTemp("", "kb-site-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(place)
	os.Exit(code)
}

// build is what site/build makes in a network namespace where there is nothing, not even loopback.
var build = sync.OnceValue(func() error {
	cmd := exec.Command(filepath.Join(harness.Repository(), "site", "build"), place)
	cmd.Env = append(os.Environ(), "KEYBEARER_VERSION="+version)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("site/build: %w\n%s", err, out)
	}
	return nil
})

// site returns the directory of the built site.
func site(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return place
}

// built returns the path in the site of a page of docs/.
func built(source string) string {
	return strings.NewReplacer("README.md", "index.html", ".md", ".html").Replace(source)
}

// pages returns the site's HTML files, by their paths in it.
func pages(t *testing.T) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(site(t)), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".html") {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) < 30 {
		t.Fatalf("%d pages: %v", len(names), err)
	}
	return names
}

// Every page, in Chromium with the strictest policy: nothing goes wrong, nothing else is asked for, and it reads well.
func TestTheSiteInABrowser(t *testing.T) {
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	root, here := site(t), harness.Address()
	url := "http://" + here.String() + ":8000"
	harness.Start(t, harness.Command{
		Name: "keybearer-docs", Path: binary, Args: []string{"run", "--config", filepath.Join(harness.Repository(), "site", "Caddyfile")},
		Env:   []string{"KEYBEARER_DOCS_BIND=" + here.String(), "KEYBEARER_DOCS_ROOT=" + root, "KEYBEARER_HOME=" + harness.Dir(t)},
		Ready: harness.Accepts(netip.AddrPortFrom(here, 8000)),
	})
	answer, err := http.Get(url + "/nothing-here")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if policy := answer.Header.Get("Content-Security-Policy"); answer.StatusCode != http.StatusNotFound || strings.Contains(policy, "unsafe") || !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("a page that is not there: status %d, policy %q", answer.StatusCode, policy)
	}
	play.Play(t, play.Plan{Flow: "site/pages.mjs", URL: url, Arguments: map[string]any{"pages": pages(t), "version": version}}, nil)
}
