package packages

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// The bill of materials has every module that is in the binary, with its version and the hash by which Go's checksum database knows it, and no other.
func TestTheBillOfMaterialsIsWhole(t *testing.T) {
	b := release(t)
	text, err := os.ReadFile(b.sbom())
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BomFormat, SpecVersion string
		Metadata               struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version, Purl string
			Hashes              []struct{ Alg string }
		}
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; bom.BomFormat != "CycloneDX" || c.Name != "github.com/keybearer/keybearer" || c.Version != released {
		t.Errorf("it is a %s %s of %s %s", bom.BomFormat, bom.SpecVersion, c.Name, c.Version)
	}
	listed := map[string]string{}
	for _, c := range bom.Components {
		if len(c.Hashes) == 0 {
			t.Errorf("%s has no hash", c.Name)
		}
		listed[c.Name] = c.Version
	}
	info, err := buildinfo.ReadFile(filepath.Join(b.dir, "bin/keybearer"))
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		linked[m.Path] = m.Version
	}
	if len(linked) < 100 {
		t.Fatalf("only %d modules in the binary", len(linked))
	}
	if diff := cmp.Diff(linked, listed); diff != "" {
		t.Errorf("in the binary (-), and in the bill (+):\n%s", diff)
	}
	licences, err := exec.Command("bash", "-euc", `dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/share/doc/keybearer/LICENSES.gz | gzip -d`, b.deb()).Output()
	if err != nil {
		t.Fatal(err)
	}
	for path, version := range linked {
		if !bytes.Contains(licences, []byte("\n==== "+path+" "+version+": ")) {
			t.Errorf("the package has no licence of %s %s", path, version)
		}
	}
}

// GoReleaser takes the configuration, and finds nothing in it that it will drop.
func TestTheReleaseIsConfigured(t *testing.T) {
	goreleaser := tool(t, "goreleaser")
	check := func(config string) harness.Result {
		return harness.Run(t, harness.Command{Path: goreleaser, Args: []string{"check", "--config", config}, Dir: harness.Repository()}, "")
	}
	config := filepath.Join(harness.Repository(), ".goreleaser.yaml")
	if r := check(config); r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "DEPRECATED") {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if r := check(harness.WriteFile(t, filepath.Join(harness.Dir(t), "bad.yaml"), bytes.Replace(text, []byte("\nbuilds:"), []byte("\nbuild:"), 1))); r.Code == 0 {
		t.Error("the test cannot tell: GoReleaser takes a word that it does not know")
	}
	// The binary of a release is that of make build.
	makefile, err := os.ReadFile(filepath.Join(harness.Repository(), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"-trimpath", "-buildvcs=false", "-s -w -X github.com/caddyserver/caddy/v2.CustomBinaryName=keybearer -X github.com/caddyserver/caddy/v2.CustomVersion="} {
		if !bytes.Contains(makefile, []byte(flags)) || !bytes.Contains(text, []byte(flags)) {
			t.Errorf("%s: not in both, Makefile and .goreleaser.yaml", flags)
		}
	}
}

// What the release hands to docker build, and what .dockerignore lets through, is enough to make the image's tree.
func TestTheImageHasItsSources(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(harness.Repository(), ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Dockers []struct {
			ExtraFiles []string `yaml:"extra_files"`
		} `yaml:"dockers_v2"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil || len(config.Dockers) != 1 {
		t.Fatalf("%d images, %v", len(config.Dockers), err)
	}
	files := config.Dockers[0].ExtraFiles
	context := filepath.Join(work, "context")
	if err := os.MkdirAll(context, 0o755); err != nil {
		t.Fatal(err)
	}
	// As .dockerignore has it.
	script := fmt.Sprintf(`tar -c --exclude='*_test.go' --exclude=testdata %s | tar -C "$0" -x && make -C "$0" --no-print-directory rootfs VERSION=%s ROOTFS="$0/rootfs"`, strings.Join(files, " "), released)
	c := exec.Command("bash", "-euo", "pipefail", "-c", script, context)
	c.Dir = harness.Repository()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ignore, err := os.ReadFile(filepath.Join(harness.Repository(), ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !strings.Contains(string(ignore), "\n!"+name+"\n") && !strings.HasSuffix(name, ".go") {
			t.Errorf(".dockerignore keeps %s out", name)
		}
	}
	one, err := os.ReadFile(filepath.Join(context, "rootfs/usr/bin/keybearer"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(filepath.Join(release(t).dir, "bin/keybearer"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("the binary in the image is not the one in the package")
	}
}

// systemd takes the unit as the package lays it, with each of the examples as a drop-in, finds it as closed as docs/hardening.md says, and makes the user and the
// directories of the files beside it.
func TestTheUnitOfThePackage(t *testing.T) {
	root := harness.Dir(t)
	if out, err := exec.Command("dpkg-deb", "-x", release(t).deb(), root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := func(name string, args ...string) harness.Result {
		return harness.Run(t, harness.Command{Path: name, Args: args, Env: []string{"SYSTEMD_LOG_LEVEL=warning", "SYSTEMD_PAGER=", "SYSTEMD_UNIT_PATH=" + root + "/units:"}}, "")
	}
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/keybearer.service"))
	if err != nil {
		t.Fatal(err)
	}
	// verify looks whether the program is there.
	here := bytes.ReplaceAll(unit, []byte("/usr/bin/keybearer"), []byte(root+"/usr/bin/keybearer"))
	if err := os.MkdirAll(filepath.Join(root, "units/keybearer.service.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := harness.WriteFile(t, filepath.Join(root, "units/keybearer.service"), here)
	examples, err := filepath.Glob(filepath.Join(root, "usr/share/doc/keybearer/examples/*.conf"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, example := range append(examples, "") {
		if example != "" {
			text, err := os.ReadFile(example)
			if err != nil {
				t.Fatal(err)
			}
			harness.WriteFile(t, filepath.Join(root, "units/keybearer.service.d", filepath.Base(example)), text)
		}
	}
	if r := run("systemd-analyze", "verify", "--man=no", file); r.Code != 0 || strings.Contains(r.Stderr, "keybearer") {
		t.Errorf("verify: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := run("systemd-analyze", "security", "--offline=yes", "--threshold=14", file); r.Code != 0 {
		t.Errorf("security: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	harness.WriteFile(t, filepath.Join(root, "units/keybearer.service.d/bad.conf"), []byte("[Service]\nLoadCredentials=a:/b\n"))
	if r := run("systemd-analyze", "verify", "--man=no", file); !strings.Contains(r.Stderr, "LoadCredentials") {
		t.Errorf("the test cannot tell: verify does not read the drop-ins\n%s%s", r.Stdout, r.Stderr)
	}

	if r := run("systemd-sysusers", "--root="+root); r.Code != 0 {
		t.Errorf("sysusers: %s", r.Stderr)
	}
	if users, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || !strings.Contains(string(users), "\nkeybearer:") && !strings.HasPrefix(string(users), "keybearer:") {
		t.Errorf("no user: %v\n%s", err, users)
	}
	if r := run("systemd-tmpfiles", "--root="+root, "--create", "keybearer.conf"); r.Code != 0 {
		t.Errorf("tmpfiles: %s", r.Stderr)
	}
	if info, err := os.Stat(filepath.Join(root, "var/lib/keybearer")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info, err)
	}
}
