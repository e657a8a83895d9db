package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
)

// historyPage tells who changed the credential.
type historyPage struct {
	one
	May     bool // the person may read the audit log
	Kept    bool // there is a log that can be read back
	Changes []change
	More    bool // there may be older ones
}

// change is a change as the audit log has it.
type change struct {
	At     time.Time
	By     string
	Action string
	Did    string   // in words
	Fields []string // in words; never values
	ID     string
}

// historyLength is how many changes a page shows.
const historyLength = 200

func (v *visit) history() error {
	o, err := v.one("/history", nil)
	if err != nil {
		return err
	}
	p := &historyPage{one: o, Kept: v.Audit != nil}
	if p.Changes, p.May, err = v.changes(&o, historyLength); err != nil {
		return err
	}
	p.More = len(p.Changes) == historyLength
	return v.showOne(&o, "credential-history", "History", p)
}

// changes are the last n changes of the credential, newest first, if the person may read them.
func (v *visit) changes(o *one, n int) (found []change, may bool, err error) {
	ctx := v.r.Context()
	if !v.person.InstanceAdmin() && !o.ScopeAdmin {
		return nil, false, nil // not asked: that would be a refusal in the log at each look
	}
	reads, err := v.Custody.AuditFilter(ctx, v.ask())
	if err != nil || v.Audit == nil {
		return nil, true, err
	}
	which, err := audit.ParseSelection(url.Values{"event": {string(keybearer.ChangeEvent)}, "credential": {o.ID}, "limit": {strconv.Itoa(n)}})
	if err != nil {
		return nil, true, err
	}
	events, _, err := which.Read(ctx, v.Audit, reads)
	if err != nil {
		return nil, true, err
	}
	for _, e := range slices.Backward(events) {
		found = append(found, changeOf(&e))
	}
	return found, true, nil
}

// changesSince are those after a time, or none when they cannot be known: that is no reason to fail what else is shown.
func (v *visit) changesSince(o *one, since time.Time) []change {
	all, _, err := v.changes(o, 20)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(c change) bool { return !c.At.After(since) })
}

func changeOf(e *keybearer.Event) change {
	c := change{At: e.Time, By: e.Operator, Action: e.Action, Did: didWords[e.Action], ID: e.ID}
	if c.By == "" {
		c.By = "the server"
	}
	if c.Did == "" {
		c.Did = e.Action
	}
	for _, f := range e.Changed {
		if words := fieldWords(f); words != "state" && !strings.Contains(c.Did, words) { // the action says it already
			c.Fields = append(c.Fields, words)
		}
	}
	return c
}

// didWords say what an action did.
var didWords = map[string]string{
	"credential.create":     "created it",
	"credential.edit":       "edited it",
	"credential.set-secret": "replaced the secret",
	"credential.rollback":   "rolled the secret back",
	"credential.disable":    "disabled it",
	"credential.enable":     "enabled it",
	"credential.delete":     "deleted it",
	"credential.restore":    "restored it",
	"credential.purge":      "purged it",
	"grant.set":             "granted",
	"grant.remove":          "removed a grant",
	"destination.add":       "added domains",
	"destination.replace":   "replaced the domains",
	"destination.remove":    "removed a domain",
	"destination.try":       "began a trial of narrower domains",
	"destination.enforce":   "put the domains on trial into force",
	"destination.discard":   "ended the trial",
	"scope.regenerate-key":  "regenerated the scope's key",
}

var fieldNames = map[string]string{
	"secret": "secret", "rules": "domains", "trial": "trial", "kind": "kind", "header": "header", "prefix": "prefix",
	"description": "description", "expires_at": "expiry", "require_user": "only on behalf of a person", "websocket": "WebSocket",
	"pass_cookies": "cookies", "pass_trace": "trace fields", "scrub_body": "scrub answers", "disabled": "state", "deleted": "state",
}

func fieldWords(f string) string {
	if rest, ok := strings.CutPrefix(f, "grants["); ok {
		return strings.TrimSuffix(rest, "]")
	}
	if w := fieldNames[f]; w != "" {
		return w
	}
	return strings.ReplaceAll(f, "_", " ")
}
