package proxy

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// While the store's records may not be relied on nothing is said of any caller, no secret is opened, a use under way ends, and one that waited is
// not sent; and at once when they may be again, all is as before.
func TestNothingIsDecidedOnRecordsThatAreNotTrusted(t *testing.T) {
	var old error
	l := newLab(t, func(_ *lab, c *Config) { c.Trusted = func() error { return old } })
	c := l.credential("crm", l.bearer(), "s3cret-token")
	pass := l.admitted()
	held, release := pass.Hold(t.Context())
	defer release()

	old = keybearer.NewError(keybearer.StoreUnavailable, "it ends with change 3, and the anchor is at 5")
	for who, token := range map[string]string{"a known caller": l.token, "nobody": "", "an unknown token": "kb_" + l.token[3:len(l.token)-4] + "aaaa"} {
		var fields []Field
		if token != "" {
			fields = append(fields, Field{"Proxy-Authorization", "Bearer " + token})
		}
		_, err := l.proxy.gate.Admit(t.Context(), &Call{
			Method: http.MethodGet, Target: l.plain() + "/", Route: &Route{}, Fields: append(fields, Field{"Keybearer-Credential", "docs/crm"}),
		})
		if err == nil || err.Code != keybearer.StoreUnavailable || err.Detail != "the store is older than what was acknowledged" {
			t.Errorf("%s: %v", who, err)
		}
	}
	l.update(c, func(c *keybearer.Credential) { c.Description = "as when everything is to be read again" })
	if err := pass.Renew(t.Context()); err == nil || err.Code != keybearer.StoreUnavailable {
		t.Errorf("a pass that waited: %v", err)
	}
	select {
	case <-held.Done():
		if err := keybearer.AsError(context.Cause(held)); err.Code != keybearer.StoreUnavailable {
			t.Errorf("the use ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a use under way goes on")
	}
	old = nil
	l.admitted()
}
