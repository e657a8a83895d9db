package transit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// maxSkew is how far apart the clocks may be: a JWT or a wrapped secret id lives for minutes.
const maxSkew = 30 * time.Second

// Diagnose implements [keybearer.Diagnoser]. Vault's audit log will show requests that it refused: that is what is looked for.
func (k *Keyring) Diagnose(ctx context.Context) []keybearer.Finding {
	d := &diagnosis{Keyring: k, ctx: ctx}
	if !d.server() {
		return d.found
	}
	data := d.login("data", k.data)
	if data {
		d.engine()
	}
	control := k.control != nil && d.login("control", k.control)
	switch {
	case control:
		d.upsert()
		d.keys()
	case k.control == nil:
		d.good("control role", "none: this server only opens secrets")
		d.known = k.lastKey()
	}
	if data {
		d.rights("data", k.data, dataNeeds, dataLacks)
	}
	if control {
		d.rights("control", k.control, controlNeeds, controlLacks)
	}
	return d.found
}

type diagnosis struct {
	*Keyring
	ctx   context.Context
	found []keybearer.Finding
	known string // a key that is there; "": none is known
}

func (d *diagnosis) good(check, detail string) {
	d.found = append(d.found, keybearer.Finding{Check: check, Detail: detail})
}

func (d *diagnosis) bad(check, detail, hint string, warn bool) {
	d.fail(check, &keybearer.Error{Code: keybearer.KeyringUnavailable, Detail: detail, Hint: hint}, warn)
}

func (d *diagnosis) fail(check string, err *keybearer.Error, warn bool) {
	d.found = append(d.found, keybearer.Finding{Check: check, Detail: err.Message(), Err: err, Warn: warn})
}

// server looks at Vault itself, and reports whether it serves.
func (d *diagnosis) server() bool {
	began := time.Now()
	h, err := d.data.Health(d.ctx)
	if err != nil {
		d.fail("vault", vaultclient.Describe(keybearer.KeyringUnavailable, "", err), false)
		return false
	}
	switch {
	case !h.Initialized:
		d.bad("vault", "it is not initialized", "vault operator init", false)
		return false
	case h.Sealed:
		d.bad("vault", "it is sealed", "vault operator unseal", false)
		return false
	case h.Standby:
		d.bad("vault", "version "+h.Version+", a standby: it hands each request on", "point address at the active node, or at a load balancer that follows it", true)
	default:
		d.good("vault", "version "+h.Version+", unsealed")
	}
	// Vault tells whole seconds of some moment between the two.
	server := time.Unix(h.ServerTimeUTC, 0)
	skew := max(began.Sub(server)-time.Second, time.Until(server), 0)
	if skew > maxSkew {
		d.bad("clock of vault", fmt.Sprintf("it differs from this machine's by %v", skew.Round(time.Second)), "set both by NTP: timedatectl set-ntp true", true)
	} else {
		d.good("clock of vault", "agrees with this machine's")
	}
	if ns := d.data.Namespace(); ns != "" {
		if !h.Enterprise && strings.HasPrefix(h.Version, "1.") {
			d.bad("namespace "+ns, "this Vault is Community and ignores it", "remove namespace, or use Vault Enterprise or OpenBao", true)
		} else {
			d.good("namespace "+ns, "sent with each request")
		}
	}
	return true
}

// login looks at a role's token, and reports whether there is one.
func (d *diagnosis) login(role string, c *vaultclient.Client) bool {
	check := "login of the " + role + " role"
	s, err := c.Read(d.ctx, "auth/token/lookup-self")
	if err != nil {
		e := vaultclient.Describe(keybearer.KeyringUnavailable, "", err)
		if v := vaultclient.Status(err); v == http.StatusForbidden && e.Detail != "Vault refuses the login" {
			e.Detail, e.Hint = "the role may not look at its own token", `add to its policy: path "auth/token/lookup-self" { capabilities = ["read"] }`
		}
		d.fail(check, e, false)
		return false
	}
	ttl, err := s.TokenTTL()
	policies, failed := s.TokenPolicies()
	switch {
	case err != nil || failed != nil:
		d.bad(check, "what Vault says of the token cannot be read", "vault token lookup", false)
		return false
	case slices.Contains(policies, "root"):
		d.bad(check, "it is a root token", "log in with a role that has the policy of docs/vault.md and nothing else", false)
	case ttl == 0:
		d.bad(check, "its token never ends", "give the role a token_ttl of an hour", true)
	default:
		d.good(check, fmt.Sprintf("policies %s, token ends in %v", strings.Join(policies, " "), ttl))
	}
	return true
}

// engine looks at the mount.
func (d *diagnosis) engine() {
	check := "mount " + d.mount
	s, err := d.data.Read(d.ctx, "sys/internal/ui/mounts/"+d.mount)
	switch {
	case vaultclient.Status(err) == http.StatusForbidden, vaultclient.Status(err) == http.StatusNotFound:
		d.bad(check, "it is not there, or the data role may do nothing on it", "vault secrets enable -path="+d.mount+" transit, then the policies of docs/vault.md", false)
	case err != nil:
		d.fail(check, unavailableAt(err), false)
	case s == nil || s.Data["type"] != "transit":
		d.bad(check, "it is no transit engine", "name the path of one: vault secrets enable -path=keybearer transit", false)
	default:
		d.good(check, "a transit engine")
	}
}

// upsert looks at the switch of the mount.
func (d *diagnosis) upsert() {
	check := "disable_upsert of " + d.mount
	s, err := d.control.Read(d.ctx, d.mount+"/config/keys")
	switch {
	case vaultclient.Status(err) == http.StatusForbidden:
		d.bad(check, "the control role may not look", "add to its policy: "+d.allow(seeUpsert), true)
	case err != nil:
		d.fail(check, unavailableAt(err), false)
	case s == nil || s.Data["disable_upsert"] != true:
		d.bad(check, "off: sealing with a key that is gone could make a new one", "vault write "+d.mount+"/config/keys disable_upsert=true", false)
	default:
		d.good(check, "on")
	}
}

// keys looks at some keys, whether they are of the kind that this keyring makes.
func (d *diagnosis) keys() {
	check := "keys of " + d.mount
	all, err := d.control.List(d.ctx, d.mount+"/keys")
	if absent(err) {
		d.good(check, "none yet")
		return
	}
	if err != nil || all == nil {
		return // what the role lacks stands below
	}
	names, _ := all.Data["keys"].([]any)
	for _, n := range names[:min(len(names), 20)] {
		name, _ := n.(string)
		s, err := d.control.Read(d.ctx, d.path("keys", name))
		switch {
		case err != nil || s == nil:
			continue // it may have been destroyed meanwhile
		case !asWeMakeThem(s):
			d.bad(check, "one does not bind what it seals to its place, or can leave Vault", "use a mount for Keybearer alone; look: vault read "+d.path("keys", name), true)
			return
		case oldest(s) > 1:
			d.bad(check, "one refuses what its older versions sealed", "vault write "+d.path("keys", name)+"/config min_decryption_version=1", true)
			return
		}
		d.known = name
	}
	d.good(check, fmt.Sprintf("%d, derived, and they cannot leave Vault", len(names)))
}

func oldest(key *api.Secret) int64 {
	n, _ := key.Data["min_decryption_version"].(json.Number)
	v, _ := n.Int64()
	return v
}

// rights tries what a role needs, and what it must not have.
func (d *diagnosis) rights(role string, c *vaultclient.Client, needs, lacks []probe) {
	check := "rights of the " + role + " role"
	needed, ok := d.try(check, c, needs)
	if !ok {
		return
	}
	switch {
	case len(needed.refused) > 0:
		var missing, fixes []string
		for _, p := range needed.refused {
			missing = append(missing, p.name)
			if fix := d.allow(p); !slices.Contains(fixes, fix) {
				fixes = append(fixes, fix)
			}
		}
		d.bad(check, "it may not "+strings.Join(missing, ", "), "add to its policy: "+strings.Join(fixes, "\n"), false)
	default:
		d.good(check, "it may do its work"+needed.rest())
	}
	check = "limits of the " + role + " role"
	unneeded, ok := d.try(check, c, lacks)
	switch {
	case !ok:
	case len(unneeded.allowed) > 0:
		var excess []string
		for _, p := range unneeded.allowed {
			excess = append(excess, p.name)
		}
		d.bad(check, "it may also "+strings.Join(excess, ", "), "give it the policy keybearer-"+role+" of docs/vault.md and no other", false)
	default:
		d.good(check, fmt.Sprintf("%d things that it must not do are refused", len(unneeded.refused))+unneeded.rest())
	}
}

// tried is what became of some probes.
type tried struct{ allowed, refused, untried []probe }

func (t tried) rest() string {
	if len(t.untried) == 0 {
		return ""
	}
	return "; not tried, for want of a key: " + t.untried[0].name
}

// try makes the probes, and reports whether Vault answered them all.
func (d *diagnosis) try(check string, c *vaultclient.Client, probes []probe) (t tried, ok bool) {
	for _, p := range probes {
		if strings.Contains(p.path, "@") && d.known == "" {
			t.untried = append(t.untried, p)
			continue
		}
		absent := "keybearer-doctor-" + strings.ToLower(rand.Text())
		path := d.mount + "/" + strings.NewReplacer("$", absent, "@", d.known).Replace(p.path)
		status, err := c.Probe(d.ctx, p.request(path))
		switch {
		case err != nil:
			d.fail(check, vaultclient.Describe(keybearer.KeyringUnavailable, "", err), false)
			return t, false
		case status == http.StatusForbidden:
			t.refused = append(t.refused, p)
		default:
			t.allowed = append(t.allowed, p)
		}
	}
	return t, true
}

func (d *diagnosis) allow(p probe) string { return strings.ReplaceAll(p.fix, "MOUNT", d.mount) }

func unavailableAt(err error) *keybearer.Error {
	return keybearer.AsError(unavailable("", err))
}
