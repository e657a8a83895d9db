package harness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Lab is a running Keybearer that trusts an authority and asks a name server of the lab, may reach loopback, and has the scope
// docs, the caller billing of that scope, and credentials of each kind that billing may use for *.example.com:
//
//	docs/crm     a bearer token
//	docs/aws     the field X-Api-Key with the prefix "Token "
//	docs/legacy  basic
type Lab struct {
	*Keybearer
	CA  *CA
	DNS *DNS

	Token   string           // of billing
	Fields  map[string]Field // what arrives, by credential
	Secrets []string         // what must be found nowhere else, the token included
	tb      TB
}

// LabOptions say what more a Lab's Keybearer is configured with.
type LabOptions struct {
	Options string // lines for the global option keybearer
	Sites   string // further sites
	Env     []string
	Files   uint64 // as in Command
}

// StartLab starts a Lab.
func StartLab(tb TB, o LabOptions) *Lab {
	tb.Helper()
	l := &Lab{CA: NewCA(tb), DNS: StartDNS(tb), Fields: map[string]Field{}, tb: tb}
	l.Keybearer = StartKeybearer(tb, KeybearerOptions{
		Options: strings.TrimSpace("trust " + l.CA.File + "\nallow_private 127.0.0.0/8\nresolver " + l.DNS.Addr + "\n" + o.Options), Sites: o.Sites, Env: o.Env, Files: o.Files,
	})
	l.Do(tb, "", "scope", "create", "docs")
	l.Do(tb, "", "scope", "generate-key", "docs")
	l.Token = l.Do(tb, "", "caller", "create", "billing", "--scope", "docs")
	l.Secrets = append(l.Secrets, l.Token)

	crm, aws, legacy := l.secret(), l.secret(), l.secret()
	l.Credential("docs/crm", crm, Field{"Authorization", "Bearer " + crm}, "--kind", "bearer")
	l.Credential("docs/aws", aws, Field{"X-Api-Key", "Token " + aws}, "--kind", "header", "--header", "X-Api-Key", "--prefix", "Token ")
	l.Credential("docs/legacy", "user\n"+legacy, Field{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+legacy))}, "--kind", "basic")
	return l
}

func (l *Lab) secret() string {
	secret := "canary-" + rand.Text()
	l.Secrets = append(l.Secrets, secret)
	return secret
}

// Credential makes a credential for *.example.com that billing may use. f is the field in which it arrives.
func (l *Lab) Credential(name, secret string, f Field, args ...string) {
	l.tb.Helper()
	l.Do(l.tb, secret, append([]string{"credential", "create", name, "--domain", "*.example.com", "--private"}, args...)...)
	l.Do(l.tb, "", "grant", "add", name, "app:billing", "use")
	l.Fields[name] = f
}

// At makes a host resolve to an address.
func (l *Lab) At(host string, addr netip.AddrPort) string {
	l.DNS.Set(host, addr.Addr())
	return host
}

// Raw starts a destination for a host of example.com that answers with bytes, on port 443.
func (l *Lab) Raw(host string, answer func(*Arrival) []byte) *Recorder {
	l.tb.Helper()
	r := StartRecorder(l.tb, RecorderOptions{Name: host, TLS: ServerTLS(l.CA.Issue(l.tb, time.Time{}, host)), Answer: answer})
	l.At(host, r.Addr)
	return r
}

// Misdeed says what is wrong with an arrival as a request that carries the credential: nil when its field is there once and
// nothing arrived beside it that is ours or another's.
func (l *Lab) Misdeed(a *Arrival, credential string) error {
	want := l.Fields[credential]
	if got := a.Values(want.Name); len(got) != 1 || got[0] != want.Value {
		return fmt.Errorf("%s is %q", want.Name, got)
	}
	like := func(name string) string {
		return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
	}
	for _, f := range a.Header {
		name := like(f.Name)
		switch {
		case f.Name == want.Name || strings.EqualFold(f.Name, want.Name):
			continue
		case name == like(want.Name):
			return fmt.Errorf("%s arrived, which some take for %s", f.Name, want.Name)
		case name != strings.ToLower(f.Name) && (name == "content-length" || name == "transfer-encoding" || name == "host"):
			return fmt.Errorf("%s arrived", f.Name)
		case strings.HasPrefix(name, "keybearer"), strings.HasPrefix(name, "proxy-"), strings.HasPrefix(name, "x-forwarded"), name == "via", name == "forwarded",
			name == "te", name == "trailer", name == "upgrade", name == "http2-settings", name == "keep-alive", name == "expect":
			return fmt.Errorf("%s: %s arrived", f.Name, f.Value)
		}
		for _, s := range l.Secrets {
			if strings.Contains(f.Value, s) {
				return fmt.Errorf("%s holds a secret or token", f.Name)
			}
		}
	}
	return nil
}
