package packages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// released and before are the versions that the tests make. The former has the same code, under the name of an older version.
const (
	before   = "v0.1.0"
	released = "v0.2.0"
)

// built is what the release makes, twice, each from a copy of the source in a directory of its own.
type built struct {
	dir, again string // what to look for in dist/ and bin/
	older      string // the package of the version before
}

func (b built) deb() string  { return filepath.Join(b.dir, "dist", debName(released)) }
func (b built) sbom() string { return filepath.Join(b.dir, "dist", stem(released)+".cdx.json") }

func debName(version string) string {
	return fmt.Sprintf("keybearer_%s-1_%s.deb", strings.TrimPrefix(version, "v"), goArch())
}

func stem(version string) string {
	return fmt.Sprintf("keybearer_%s_linux_%s", strings.TrimPrefix(version, "v"), goArch())
}

func goArch() string {
	out, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(out))
}

// build makes all of it once for all tests, under a directory that TestMain removes.
var build = sync.OnceValues(func() (b built, err error) {
	b.dir, b.again = filepath.Join(work, "here"), filepath.Join(work, "a longer way/there")
	for i, dir := range []string{b.dir, b.again} {
		if err := copySource(dir); err != nil {
			return b, err
		}
		// The second time at another hour, by another umask, in another zone.
		if err := in(dir, fmt.Sprintf("umask 0%d2; make --no-print-directory dist VERSION=%s", 2*i, released), "TZ="+[]string{"UTC", "Asia/Tokyo"}[i]); err != nil {
			return b, err
		}
	}
	older := filepath.Join(work, "older")
	if err := copySource(older); err != nil {
		return b, err
	}
	binary, err := harness.Binary()
	if err != nil {
		return b, err
	}
	b.older = filepath.Join(older, "dist", debName(before))
	return b, in(older, fmt.Sprintf("packaging/stage %[1]s && packaging/package %[1]s %s", binary, goArch()), "VERSION="+before)
})

func release(t *testing.T) built {
	t.Helper()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func in(dir, script string, env ...string) error {
	c := exec.Command("bash", "-euc", script)
	c.Dir, c.Env = dir, append(append(os.Environ(), "SOURCE_DATE_EPOCH=1790000000"), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", script, dir, err, out)
	}
	return nil
}

// copySource copies what git knows, or would, without its history.
func copySource(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list := exec.Command("git", "ls-files", "-zco", "--exclude-standard")
	list.Dir = harness.Repository()
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	var there []string
	for _, name := range strings.Split(strings.Trim(string(names), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(list.Dir, name)); err == nil { // not one that was removed and not yet committed
			there = append(there, name)
		}
	}
	pipe := exec.Command("bash", "-euo", "pipefail", "-c", `tar -c --null -T - | tar -C "$0" -x`, dir)
	pipe.Dir, pipe.Stdin = list.Dir, strings.NewReader(strings.Join(there, "\x00"))
	if out, err := pipe.CombinedOutput(); err != nil {
		return fmt.Errorf("copy: %w\n%s", err, out)
	}
	return nil
}

// The same source gives the same binary, package, archive and bill of materials, byte for byte, wherever it lies and whoever builds it.
func TestTheSameSourceGivesTheSameBytes(t *testing.T) {
	b := release(t)
	names := []string{"bin/keybearer", "dist/SHA256SUMS"}
	files, err := filepath.Glob(filepath.Join(b.dir, "dist/keybearer_*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("in dist: %q, %v", files, err)
	}
	for _, file := range files {
		names = append(names, "dist/"+filepath.Base(file))
	}
	for _, name := range names {
		one, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(b.again, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s: %d and %d bytes, and not the same", name, len(one), len(two))
		}
		if bytes.Contains(one, []byte(work)) {
			t.Errorf("%s names the directory that it was built in", name)
		}
	}
	sums, err := exec.Command("bash", "-euc", "cd '"+b.dir+"/dist' && sha256sum --strict --check SHA256SUMS").CombinedOutput()
	if err != nil || strings.Count(string(sums), ": OK") != len(files) {
		t.Errorf("checksums: %v\n%s", err, sums)
	}
}

// Debian's own judge of packages has nothing to say.
func TestLintianIsContent(t *testing.T) {
	r := harness.Run(t, harness.Command{Path: "lintian", Args: []string{"--allow-root", "--tag-display-limit", "0", "--fail-on", "error,warning", release(t).deb()}}, "")
	if r.Code != 0 || r.Stdout != "" {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// dpkg orders versions as git does: what comes before a release, the release, the commits after it.
func TestVersionsAreOrderedAsTheyCome(t *testing.T) {
	versions := []string{"0a1b2c3", "v1.2.3-rc.1", "v1.2.3-rc.1-4-g0a1b2c3", "v1.2.3", "v1.2.3-4-g0a1b2c3", "v1.2.3-11-g0a1b2c3-dirty", "v1.2.4"}
	deb := func(version string) string {
		c := exec.Command("bash", "-euc", ". packaging/version; echo $DEB_VERSION")
		c.Dir, c.Env = harness.Repository(), append(os.Environ(), "VERSION="+version)
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		return strings.TrimSpace(string(out))
	}
	for i := range versions[1:] {
		before, after := deb(versions[i]), deb(versions[i+1])
		if err := exec.Command("dpkg", "--compare-versions", before, "lt", after).Run(); err != nil {
			t.Errorf("%s (%s) is not before %s (%s)", versions[i], before, versions[i+1], after)
		}
	}
}
