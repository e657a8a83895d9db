package console

import (
	"net/url"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// editPage changes what a credential is.
type editPage struct {
	one
	Kinds  []Option
	Ask    bool       // the secret is needed
	Merge  *merge     // somebody changed it meanwhile
	Widens []string   // what the change widens, in words, where the secret is asked for
	Held   url.Values // the values that the form was made from
}

// merge tells of a change that somebody made while a form was open.
type merge struct {
	Changes   []change // newest first; nil: the person may not read the audit log
	At        time.Time
	Conflicts []difference // both changed it: what was typed stays in the form
	Taken     []difference // only the other one did: it is in the form now
}

// difference is a field of two values.
type difference struct{ Label, Now, Yours string }

// editFields are what the form changes, with the level that each takes, in its order.
var editFields = []struct {
	name, label string
	box         bool
	level       keybearer.Level
}{
	{"description", "Description", false, keybearer.Edit},
	{"kind", "Kind", false, keybearer.Edit},
	{"header", "Header", false, keybearer.Edit},
	{"prefix", "Prefix", false, keybearer.Edit},
	{"expires_at", "Expires", false, keybearer.Edit},
	{"scrub_body", "Scrub answers", true, keybearer.Edit},
	{"pass_cookies", "Cookies", true, keybearer.Edit},
	{"pass_trace", "Trace fields", true, keybearer.Edit},
	{"require_user", "Only on behalf of a person", true, keybearer.Administer},
	{"websocket", "WebSocket", true, keybearer.Administer},
}

const expiryForm = "2006-01-02T15:04" // of an input datetime-local, here in UTC

// editValues are the fields' values as the form shows them.
func editValues(c *custody.Credential) url.Values {
	v := url.Values{}
	v.Set("updated", c.UpdatedAt.Format(time.RFC3339Nano)) // no field: since when others' changes matter
	v.Set("description", c.Description)
	v.Set("kind", string(c.Terms.Kind))
	v.Set("header", c.Terms.Header)
	v.Set("prefix", c.Terms.Prefix)
	v.Set("expires_at", "")
	if !c.ExpiresAt.IsZero() {
		v.Set("expires_at", c.ExpiresAt.UTC().Format(expiryForm))
	}
	for name, on := range map[string]bool{
		"scrub_body": c.ScrubBody, "pass_cookies": c.PassCookies, "pass_trace": c.PassTrace,
		"require_user": c.Terms.RequireUser, "websocket": c.Terms.WebSocket,
	} {
		v.Set(name, boxValue(on))
	}
	return v
}

func boxValue(on bool) string {
	if on {
		return "on"
	}
	return ""
}

// typed are the fields' values as they were sent, in the same form as editValues.
func typed(sent url.Values) url.Values {
	v := url.Values{}
	for _, f := range editFields {
		v.Set(f.name, strings.ReplaceAll(sent.Get(f.name), "\r\n", "\n"))
	}
	if v.Get("kind") != string(keybearer.Header) { // the fields belong to that kind
		v.Set("header", "")
		v.Set("prefix", "")
	}
	return v
}

func (v *visit) editPage() error {
	o, err := v.one("", nil)
	if err != nil {
		return err
	}
	o.Form.Values = editValues(&o.Credential)
	return v.editForm(&o, &editPage{Held: o.Form.Values})
}

func (v *visit) editForm(o *one, p *editPage) error {
	p.one = *o
	p.Kinds = kinds
	return v.showOne(o, "credential-edit", "Edit", p)
}

// kinds are the ways in which a secret is sent.
var kinds = []Option{
	{string(keybearer.Bearer), "Bearer", "Authorization: Bearer ••••"},
	{string(keybearer.Basic), "Basic", "Authorization: Basic, made of a username and a password"},
	{string(keybearer.Header), "Another header", "a header of your choice, with a prefix if you like"},
}

// Was is what the form was made from, to be sent along with it.
func (p *editPage) Was() string { return p.Held.Encode() }

// edit changes the fields that the person changed, and no others: so two people who change different fields are in nobody's way.
func (v *visit) edit() error {
	f := v.posted()
	held, err := url.ParseQuery(f.Get("was"))
	if err != nil {
		return keybearer.NewError(keybearer.Invalid, "the form cannot be read")
	}
	now := typed(f.Values)
	patch, err := patchOf(held, now)
	patch.Secret = v.givenSecret()
	if err == nil {
		var c custody.Credential
		c, err = v.Custody.EditCredential(v.r.Context(), v.ask(), v.ref(), patch)
		if err == nil {
			return v.done("Saved.", credentialPath(c.Scope, c.Name))
		}
	}
	if !f.blame(err, v.id) {
		return err
	}
	o, err := v.one("", f)
	if err != nil {
		return err
	}
	p := &editPage{Held: held}
	switch f.Problem.Code {
	case keybearer.SecretRequired, keybearer.SecretInvalid:
		p.Ask, p.Widens = true, widensInWords(&o.Credential, now)
		f.askSecret()
	case keybearer.Stale:
		p.Merge = v.mergeInto(&o, held, now)
		p.Held = editValues(&o.Credential)
	}
	p.Ask = p.Ask || patch.Secret.Given()
	f.Values = now
	return v.editForm(&o, p)
}

// patchOf is the change of what is different from what the form was made from.
func patchOf(held, now url.Values) (p custody.Patch, err error) {
	text := func(name string) *string {
		if held.Get(name) == now.Get(name) {
			return nil
		}
		return new(now.Get(name))
	}
	flag := func(name string) *bool {
		if held.Get(name) == now.Get(name) {
			return nil
		}
		return new(now.Get(name) == "on")
	}
	p.Description, p.Header, p.Prefix = text("description"), text("header"), text("prefix")
	if kind := text("kind"); kind != nil {
		p.Kind = new(keybearer.Kind(*kind))
	}
	p.ScrubBody, p.PassCookies, p.PassTrace = flag("scrub_body"), flag("pass_cookies"), flag("pass_trace")
	p.RequireUser, p.WebSocket = flag("require_user"), flag("websocket")
	if at := text("expires_at"); at != nil {
		p.ExpiresAt = new(time.Time)
		if *at != "" {
			if *p.ExpiresAt, err = parseExpiry(*at); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func parseExpiry(text string) (time.Time, error) {
	for _, form := range []string{expiryForm, "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, strings.TrimSpace(text)); err == nil {
			return t, nil
		}
	}
	return time.Time{}, keybearer.NewError(keybearer.Invalid, "this is not a time").WithHint("write it like 2027-01-31T12:00, in UTC").In("expires_at")
}

// widensInWords says what the new values would let the secret do that it was not given for.
func widensInWords(c *custody.Credential, now url.Values) (words []string) {
	next := c.Terms.Clone()
	next.Kind, next.Header, next.Prefix = keybearer.Kind(now.Get("kind")), now.Get("header"), now.Get("prefix")
	next.RequireUser, next.WebSocket = now.Get("require_user") == "on", now.Get("websocket") == "on"
	for _, name := range policy.Widens(&c.Terms, &next) {
		switch name {
		case "kind", "header", "prefix":
			if text := "it would be sent as " + asSent(&next) + " instead of " + asSent(&c.Terms); len(words) == 0 {
				words = append(words, text)
			}
		case "require_user":
			words = append(words, "it could be used without a person")
		case "websocket":
			words = append(words, "it could open WebSockets")
		}
	}
	return words
}

// mergeInto brings what somebody else changed since into the values, where the person did not change the same.
func (v *visit) mergeInto(o *one, held, now url.Values) *merge {
	m := &merge{At: o.UpdatedAt}
	fresh := editValues(&o.Credential)
	for _, f := range editFields {
		was, there, mine := held.Get(f.name), fresh.Get(f.name), now.Get(f.name)
		if there == was || there == mine {
			continue
		}
		d := difference{f.label, shownValue(f.box, there), shownValue(f.box, mine)}
		if mine == was {
			now.Set(f.name, there)
			m.Taken = append(m.Taken, d)
			continue
		}
		m.Conflicts = append(m.Conflicts, d)
	}
	since, _ := time.Parse(time.RFC3339Nano, held.Get("updated"))
	m.Changes = v.changesSince(o, since)
	return m
}

func shownValue(box bool, value string) string {
	switch {
	case box && value == "on":
		return "yes"
	case box:
		return "no"
	case value == "":
		return "nothing"
	}
	return value
}
