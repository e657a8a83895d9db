package vaultkv

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Diagnose looks at Vault, the mount, the rights that the role has and should not have, the index, and how closely it is followed. It implements
// [keybearer.Diagnoser].
func (s *Store) Diagnose(ctx context.Context) []keybearer.Finding {
	d := &diagnosis{Store: s, ctx: ctx}
	if d.server() && d.kv() {
		d.rights()
		d.excess()
		d.retention()
		d.unnamed()
	}
	d.contents()
	d.following()
	return d.findings
}

// diagnosis collects findings.
type diagnosis struct {
	*Store
	ctx      context.Context
	findings []keybearer.Finding
}

func (d *diagnosis) good(check, detail string) {
	d.findings = append(d.findings, keybearer.Finding{Check: check, Detail: detail})
}

func (d *diagnosis) bad(warn bool, check, detail, hint string) {
	d.findings = append(d.findings, keybearer.Finding{
		Check: check, Detail: detail, Warn: warn, Err: keybearer.NewError(keybearer.StoreUnavailable, detail).WithHint(hint),
	})
}

func (d *diagnosis) failed(check string, err error) {
	e := keybearer.AsError(fail(check, err))
	d.findings = append(d.findings, keybearer.Finding{Check: check, Detail: e.Message(), Err: e})
}

func (d *diagnosis) server() bool {
	const check = "vault"
	h, err := d.engine.client.Health(d.ctx)
	switch {
	case err != nil:
		d.failed(check, err)
	case h.Sealed:
		d.bad(false, check, "Vault is sealed", "unseal it: vault operator unseal")
	default:
		d.good(check, "version "+h.Version+", unsealed")
		return true
	}
	return false
}

func (d *diagnosis) kv() bool {
	check := "mount " + d.engine.mount
	if err := d.engine.check(d.ctx); err != nil {
		d.failed(check, err)
		return false
	}
	d.good(check, "a KV engine, version 2")
	return true
}

// need is what the role must be allowed, in the order of the documented policy.
func (d *diagnosis) need() (paths []string, rights map[string][]string) {
	e := d.engine
	rights = map[string][]string{
		e.at("data", indexName):      {"create", "read", "update"},
		e.at("metadata", indexName):  {"create", "read", "update"},
		e.at("data", sampleName):     {"create", "read"},
		e.at("metadata", sampleName): {"delete"},
		e.at("metadata", ""):         {"list"},
	}
	return slices.Sorted(maps.Keys(rights)), rights
}

// sampleName stands for any secret but the index; it need not be there.
const sampleName = "credential-0-sample"

func (d *diagnosis) rights() {
	const check = "rights"
	paths, rights := d.need()
	held, err := d.capabilities(paths)
	if forbidden(err) {
		d.bad(true, check, "the role may not ask what it may do", `add to its policy: path "sys/capabilities-self" { capabilities = ["update"] }`)
		return
	}
	if err != nil {
		d.failed(check, err)
		return
	}
	serves := true
	var lacks []string
	for _, path := range paths {
		for _, right := range rights[path] {
			if held[path][right] || held[path]["root"] {
				continue
			}
			lacks = append(lacks, right+" on "+path)
			serves = serves && right != "read"
		}
	}
	switch {
	case len(lacks) == 0:
		d.good(check, "the role may all that the store needs")
	case serves:
		d.bad(true, check, "the role may follow and not change: it lacks "+strings.Join(lacks, ", "),
			"as it should be for a process that only serves; else give it the policy keybearer-kv of docs/vault-kv.md")
	default:
		d.bad(false, check, "the role lacks "+strings.Join(lacks, ", "), "give it the policy keybearer-kv of docs/vault-kv.md")
	}
}

// excess looks for rights that the role should not have.
func (d *diagnosis) excess() {
	const check = "rights beyond need"
	e := d.engine
	forbidden := map[string][]string{
		e.at("data", sampleName):        {"update", "patch", "delete"},
		e.at("data", indexName):         {"delete"},
		e.at("metadata", indexName):     {"delete"},
		e.at("undelete", sampleName):    {"update"},
		e.mount + "/data/elsewhere":     {"read", "create", "update"},
		e.mount + "/metadata/elsewhere": {"read", "list", "delete"},
		e.mount + "/config":             {"update"},
		"sys/mounts/" + e.mount:         {"update", "delete"},
		"sys/policies/acl/elsewhere":    {"create", "update"},
	}
	paths := slices.Sorted(maps.Keys(forbidden))
	held, err := d.capabilities(paths)
	if err != nil {
		return // said before
	}
	var more []string
	for _, path := range paths {
		if held[path]["root"] {
			d.bad(true, check, "the role is root", "log in with a role that has the policy keybearer-kv of docs/vault-kv.md and no other")
			return
		}
		for _, right := range forbidden[path] {
			if held[path][right] {
				more = append(more, right+" on "+path)
			}
		}
	}
	if len(more) > 0 {
		d.bad(true, check, "the role may also "+strings.Join(more, ", "), "give it the policy keybearer-kv of docs/vault-kv.md and no other")
		return
	}
	d.good(check, "none of those that were tried")
}

// capabilities returns what the role may do on each path.
func (d *diagnosis) capabilities(paths []string) (map[string]map[string]bool, error) {
	var answer struct {
		Data map[string]any `json:"data"`
	}
	if err := d.engine.do(d.ctx, http.MethodPut, "sys/capabilities-self", map[string]any{"paths": paths}, &answer); err != nil {
		return nil, err
	}
	held := make(map[string]map[string]bool, len(paths))
	for _, path := range paths {
		held[path] = map[string]bool{}
		list, _ := answer.Data[path].([]any)
		for _, right := range list {
			name, _ := right.(string)
			held[path][name] = true
		}
	}
	return held, nil
}

// retention looks whether Vault keeps more or less of the index than its current version.
func (d *diagnosis) retention() {
	const check = "versions of the index"
	m, err := d.engine.describe(d.ctx, indexName)
	if err != nil {
		d.failed(check, err)
		return
	}
	name := d.engine.mount + " " + d.engine.path + "/" + indexName
	for _, v := range m.Versions {
		if v.Deletion != "" {
			d.failed(check, errExpires)
			return
		}
	}
	switch {
	case m.MaxVersions != 1:
		d.bad(true, check, fmt.Sprintf("Vault keeps %d versions of the index, and one is enough", len(m.Versions)),
			"vault kv metadata put -max-versions=1 -cas-required=true -mount="+name)
	case !m.CASRequired:
		d.bad(true, check, "the index may be overwritten without looking at what is there",
			"vault kv metadata put -max-versions=1 -cas-required=true -mount="+name)
	default:
		d.good(check, fmt.Sprintf("one is kept, number %d", m.Current))
	}
}

func (d *diagnosis) unnamed() {
	const check = "leftovers"
	names, err := d.engine.list(d.ctx)
	if err != nil {
		return // a right that is missing
	}
	named := d.state.Load().named()
	n := 0
	for _, name := range names {
		if !named[name] && isBucketName(name) {
			n++
		}
	}
	d.good(check, fmt.Sprintf("%d secrets that the index does not name; those of interrupted commits are swept within two minutes", n))
}

// contents looks how much room is left.
func (d *diagnosis) contents() {
	const check = "room"
	st := d.state.Load()
	text, err := st.index.encode()
	if err != nil {
		d.failed(check, err)
		return
	}
	records, fullest, most := 0, "", 0
	for slot, b := range st.buckets {
		records += len(b)
		if text, err := b.encode(); err == nil && len(text) > most {
			fullest, most = slot, len(text)
		}
	}
	detail := fmt.Sprintf("%d records after commit %d, index %d KiB, fullest bucket %d of %d KiB", records, st.index.Seq, len(text)>>10, most>>10, maxText>>10)
	switch {
	case len(st.index.Outbox) > 100:
		d.bad(true, check, fmt.Sprintf("%s; %d events wait for the audit log", detail, len(st.index.Outbox)), "look at the audit log of the process that committed them")
	case most > maxText*3/4:
		d.bad(true, check, detail+", "+fullest, "delete what is not needed, or move to the store postgres")
	default:
		d.good(check, detail)
	}
}

func (d *diagnosis) following() {
	const check = "following"
	if _, err := d.view(d.ctx); err != nil {
		d.failed(check, err)
		return
	}
	d.good(check, fmt.Sprintf("others' changes are known up to %v ago", time.Since(d.Current()).Round(time.Millisecond)))
}
