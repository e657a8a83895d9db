package packages

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// serving starts the server of the package as its own user, as the unit does. The commands of root find it by themselves.
const serving = `
serve() {
	env KEYBEARER_HOME=/var/lib/keybearer HOME=/var/lib/keybearer setpriv --reuid keybearer --regid keybearer --clear-groups --inh-caps=-all keybearer run --config /etc/keybearer/Caddyfile --adapter caddyfile 2>/dev/null &
}
`

// An upgrade under a server that runs keeps what the server keeps, and what was edited; the server goes on with the old binary until it is restarted, and the new
// one takes up the same state. Removing leaves state and configuration, purging leaves state and says so, and what is installed after finds it.
func TestThePackageComesAndGoes(t *testing.T) {
	b := release(t)
	d := newDebian(t)
	d.put(b.older, "/root")
	d.put(b.deb(), "/root")
	older, newer := "dpkg -i /root/"+debName(before), "dpkg -i /root/"+debName(released)

	out := d.do(older + `
getent passwd keybearer
stat -c '%U %G %a %n' /var/lib/keybearer /var/log/keybearer /etc/keybearer/Caddyfile
keybearer version
dpkg --verify keybearer`)
	for _, want := range []string{
		"not started. Start it now and at each boot: systemctl enable --now keybearer\n", ":Keybearer:/var/lib/keybearer:/usr/sbin/nologin\n",
		"keybearer keybearer 700 /var/lib/keybearer\n", "keybearer keybearer 700 /var/log/keybearer\n", "root root 644 /etc/keybearer/Caddyfile\n", " (caddy v",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("installed, and no %q:\n%s", want, out)
		}
	}

	out = d.do(serving + `
echo '# mine' >>/etc/keybearer/Caddyfile
serve
keybearer scope create docs
keybearer scope generate-key docs
printf s3cret | keybearer credential create docs/crm --kind bearer --domain api.example.com
` + newer + `
keybearer credential list -o name
kill %1; wait %1
serve
echo restarted
keybearer credential list -o name
keybearer doctor
kill %1; wait %1
keybearer version
tail -1 /etc/keybearer/Caddyfile
` + newer + "\n")
	if _, after, _ := strings.Cut(out, "restarted\n"); strings.Count(out, "\ndocs/crm\n") != 2 || !strings.Contains(after, "docs/crm\n") || !strings.Contains(after, "\n# mine\n") || !strings.Contains(after, "keybearer "+released) {
		t.Errorf("upgraded:\n%s", out)
	}
	if strings.Count(out, "not started") != 0 {
		t.Errorf("an upgrade speaks as if it were the first installation:\n%s", out)
	}

	d.do("dpkg -r keybearer")
	if d.do("ls /var/lib/keybearer | sort | tr '\\n' ' '; tail -1 /etc/keybearer/Caddyfile; find /usr -name '*keybearer*'") == "" || d.read("/usr/bin/keybearer") != "" ||
		!strings.HasSuffix(d.read("/etc/keybearer/Caddyfile"), "# mine\n") || d.read("/var/lib/keybearer/keybearer.db") == "" {
		t.Error("removing the package takes state or configuration along, or leaves the program")
	}
	out = d.do("dpkg -P keybearer")
	if !strings.Contains(out, "left on purpose: /var/lib/keybearer") || d.read("/etc/keybearer/Caddyfile") != "" || d.read("/var/lib/keybearer/keyring.key") == "" {
		t.Errorf("purged:\n%s", out)
	}
	if left := d.do("find / -xdev -path /proc -prune -o -path /root -prune -o -name '*keybearer*' -print | grep -v ^/var/lib/keybearer | grep -v ^/tmp/ || true"); left != "/var/log/keybearer\n" && left != "" {
		t.Errorf("purging leaves\n%s", left)
	}
	out = d.do(newer + serving + `
serve
keybearer credential list -o name
kill %1; wait %1`)
	if !strings.Contains(out, "docs/crm\n") {
		t.Errorf("installed again:\n%s", out)
	}
}

// Where systemd-sysusers is, it makes the user; and nothing of the package is left by one that nobody used.
func TestThePackageWithSysusers(t *testing.T) {
	d := newDebian(t)
	d.put(release(t).deb(), "/root")
	out := d.do(`apt-get -qq install -y systemd-standalone-sysusers >/dev/null
rm /usr/sbin/useradd
dpkg -i /root/` + debName(released) + `
/var/lib/dpkg/info/keybearer.postinst configure ''
getent passwd keybearer
dpkg -P keybearer
ls -d /var/lib/keybearer || true`)
	if !strings.Contains(out, ":Keybearer:/var/lib/keybearer:") || strings.Contains(out, "left on purpose") || !strings.Contains(out, "No such file") {
		t.Errorf("%s", out)
	}
}

// The manual has a page for every command, each of which can be shown, and bash completes.
func TestTheManualAndTheCompletions(t *testing.T) {
	d := newDebian(t)
	d.put(release(t).deb(), "/root")
	out := d.do(`apt-get -qq install -y man-db bash-completion >/dev/null 2>&1
dpkg -i /root/` + debName(released) + ` >/dev/null
man -w keybearer-credential-create keybearer
for page in /usr/share/man/man1/keybearer*; do
	man -l --warnings "$page" >/tmp/shown 2>/tmp/complaints
	[ ! -s /tmp/complaints ] || { echo "$page:"; cat /tmp/complaints; }
	grep -q '^NAME' /tmp/shown || echo "$page has no NAME"
	grep -q '^SYNOPSIS' /tmp/shown || echo "$page has no SYNOPSIS"
done
. /usr/share/bash-completion/bash_completion
. /usr/share/bash-completion/completions/keybearer
complete -p keybearer
compopt() { :; } # it works in a completion only
COMP_LINE='keybearer creden' COMP_POINT=16 COMP_WORDS=(keybearer creden) COMP_CWORD=1 COMP_TYPE=9
__start_keybearer
echo "completed: ${COMPREPLY[*]}"`)
	want := `/usr/share/man/man1/keybearer-credential-create.1.gz
/usr/share/man/man1/keybearer.1.gz
complete -o default -F __start_keybearer keybearer
completed: credential
`
	if out != want {
		t.Errorf("got\n%s\nnot\n%s", out, want)
	}
	// As many as there are commands: those that the program's own help tells of.
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := harness.Dir(t)
	if r := harness.Run(t, harness.Command{Path: binary, Args: []string{"manpage", "--directory", dir}}, ""); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	if r := harness.Run(t, harness.Command{Path: "bash", Args: []string{"-c", `diff <(ls "$0") <(ls "$1/usr/share/man/man1" | sed 's/\.gz$//' | grep ^keybearer)`, dir, d.dir}}, ""); r.Code != 0 {
		t.Errorf("pages:\n%s%s", r.Stdout, r.Stderr)
	}
}
