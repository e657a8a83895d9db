package packages

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/test/harness"
)

// block is a block of commands of a page, as it stands. test/docs sees to it that each is marked as run by a test here, or with what it needs.
type block struct {
	section, text string
	root          bool   // the words before it end in "as root", or begin with it
	needs         string // what the page says that it needs and no test has: systemd
}

// blocks reads the commands of a page.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var section, said, mark string
	var open *block
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case open != nil && line == "```":
			all = append(all, *open)
			open, said, mark = nil, "", ""
		case open != nil:
			open.text += line + "\n"
		case line == "```sh", line == "```bash":
			open = &block{section: section, root: strings.Contains(strings.ToLower(said), "as root") && !strings.Contains(said, "not as root")}
			kind, what, _ := strings.Cut(strings.TrimSuffix(mark, " -->"), ": ")
			switch kind {
			case "<!-- needs":
				open.needs = what
			case "<!-- run by":
			default:
				t.Fatalf("a block of %q has no mark that tells of it", section)
			}
		case strings.HasPrefix(line, "#"):
			section, said = strings.TrimSpace(strings.TrimLeft(line, "#")), ""
		case strings.HasPrefix(line, "<!-- "):
			mark = line
		case line != "":
			said = line
		}
	}
	return all
}

// reader is somebody with a fresh Debian, the package, and the page.
type reader struct {
	*debian
	blocks []block
	typed  []bool
}

func newReader(t *testing.T) *reader {
	r := &reader{debian: newDebian(t)}
	r.put(release(t).deb(), "/root")
	r.do("useradd --create-home --shell /bin/bash ada")
	r.blocks = blocks(t, filepath.Join(harness.Repository(), "docs/quickstart.md"))
	r.typed = make([]bool, len(r.blocks))
	return r
}

// section takes the nth block of a section, or all of them for -1. What needs systemd is left to those who have it.
func (r *reader) section(prefix string, nth int) (text string, root bool) {
	n := 0
	for i, b := range r.blocks {
		if !strings.HasPrefix(b.section, prefix) {
			continue
		}
		if nth < 0 || n == nth {
			r.typed[i] = true
			if b.needs == "" {
				text, root = text+b.text, b.root
			}
		}
		n++
	}
	if text == "" {
		r.t.Fatalf("the page has no block %d in section %q", nth, prefix)
	}
	return text, root
}

// follow types blocks, those for root in one shell and then the others in one of ada's, as the page says. Nothing is done to the text.
func (r *reader) follow(steps ...[2]any) string {
	r.t.Helper()
	var asRoot, asAda strings.Builder
	for _, s := range steps {
		text, root := r.section(s[0].(string), s[1].(int))
		if root {
			asRoot.WriteString(text)
		} else {
			asAda.WriteString(text)
		}
	}
	for i, b := range r.blocks {
		if !r.typed[i] && b.needs == "" && !(b.section == "A destination on your own machine") {
			r.t.Errorf("nobody typed the commands of %q:\n%s", b.section, b.text)
		}
	}
	r.write("/home/ada/page", "set -x\n"+asAda.String())
	return r.do("set -x; cd\n" + asRoot.String() + "\nsu --login ada --command 'bash -euo pipefail page'\n")
}

const all = -1

// On a fresh Debian where only the package is installed, the page alone leads to an authenticated webhook that arrives at a real nginx over verified TLS: a destination
// in the reader's own network, with a certificate of the reader's own authority.
func TestTheQuickstartAtADestinationOfOnesOwn(t *testing.T) {
	r := newReader(t)
	if r.read("/usr/bin/curl")+r.read("/usr/bin/openssl")+r.read("/usr/bin/python3") != "" {
		t.Fatal("the Debian is not empty")
	}
	ca := harness.NewCA(t)
	nginx := harness.StartNginx(t, ca, "api.example.com", true)
	// What the page supposes, and no more.
	r.write("/etc/hosts", fmt.Sprintf("127.0.0.1 localhost\n%s api.example.com\n", nginx.Addr.Addr()))
	r.put(ca.File, "/etc/keybearer")
	r.do("mv /etc/keybearer/ca.pem /etc/keybearer/internal-ca.pem")

	out := r.follow([2]any{"1.", all}, [2]any{"2.", all}, [2]any{"3.", all}, [2]any{"4.", all}, [2]any{"5.", all}, [2]any{"6.", all}, [2]any{"In the browser", all}, [2]any{"7.", all})

	arrived := nginx.All(t)
	if len(arrived) != 2 {
		t.Fatalf("%d requests arrived, the page sends 2\n%s", len(arrived), out)
	}
	for _, a := range arrived {
		if diff := cmp.Diff([]string{"Bearer s3cret"}, a.Values("Authorization")); diff != "" || a.Method != "POST" || a.Target != "/hook" {
			t.Errorf("%s %s arrived with another secret: %s", a.Method, a.Target, diff)
		}
		for _, name := range []string{"Proxy-Authorization", "Keybearer-Credential"} {
			if a.Values(name) != nil {
				t.Errorf("%s went to the destination", name)
			}
		}
	}
	if strings.Count(out, "HTTP/1.1 200") != 2 {
		t.Errorf("curl does not show the answers:\n%s", out)
	}
	r.nothingIsLeft()
}

// Who has no destination makes one by the page, and sees in it what arrived.
func TestTheQuickstartAtADestinationOnThisMachine(t *testing.T) {
	r := newReader(t)
	const own = "A destination on your own machine"
	out := r.follow([2]any{"1.", all}, [2]any{own, 0}, [2]any{"2.", all}, [2]any{"3.", all}, [2]any{"4.", all}, [2]any{"5.", all}, [2]any{own, 1}, [2]any{"6.", all}, [2]any{"In the browser", all}, [2]any{"7.", all})
	if i := slices.Index(r.typed, false); i >= 0 {
		t.Errorf("a block was not typed: %q", r.blocks[i].text)
	}
	if got := r.read("/srv/hook/hook.log"); got != strings.Repeat("received Bearer s3cret\n", 2) {
		t.Errorf("the destination received %q\n%s", got, out)
	}
	r.nothingIsLeft()
}

// nothingIsLeft holds when the page has cleaned up; it says that Caddy's own directory stays.
func (r *reader) nothingIsLeft() {
	r.t.Helper()
	if left := r.do(`find /home/ada -mindepth 1 ! -type d ! -path '*/.local/share/caddy/*' ! -name '.bash*' ! -name .profile ! -name page; ls -d /home/ada/keybearer 2>/dev/null || true`); left != "" {
		r.t.Errorf("the page leaves\n%s", left)
	}
}

// The page on installing says what holds: each of its commands is run, the package's and the archive's, but those that need systemd or docker.
func TestTheCommandsOfTheInstallPage(t *testing.T) {
	d := newDebian(t)
	files, err := filepath.Glob(filepath.Join(release(t).dir, "dist", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		d.put(file, "/root")
	}
	var script strings.Builder
	needs := map[string]int{}
	for _, b := range blocks(t, filepath.Join(harness.Repository(), "docs/install.md")) {
		if needs[b.needs]++; b.needs == "" {
			script.WriteString(b.text)
		}
		if b.section == "Binary" {
			script.WriteString("/usr/local/bin/keybearer version\nfor path in /usr/bin/keybearer /etc/keybearer/Caddyfile /usr/share/doc/keybearer/LICENSES.gz; do ls $path; done\ntouch /var/lib/keybearer/keybearer.db\n")
		}
	}
	if diff := cmp.Diff(map[string]int{"": 5, "systemd": 2, "docker": 1}, needs); diff != "" {
		t.Errorf("blocks by what they need: %s", diff)
	}
	out := d.do("cd /root\n" + script.String() + "find / -xdev -name '*keybearer*' ! -path '/proc/*' ! -path '/root/*' ! -path '/tmp/*'; getent passwd keybearer || true")
	if _, left, _ := strings.Cut(out, "for good: rm -rf /var/lib/keybearer /var/log/keybearer; userdel keybearer\n"); left != "/usr/local/bin/keybearer\n" {
		t.Errorf("left when all is gone:\n%s", out)
	}
	if strings.Count(out, ": OK\n") != 3 || !strings.Contains(out, "\nkeybearer "+released+" (") {
		t.Errorf("%s", out)
	}
}
