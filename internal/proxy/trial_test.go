package proxy

import (
	"io"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// A trial changes nothing but two keys of the audit log, in the intent and in the outcome, and says them only of what it would refuse.
func TestATrialReportsAndRefusesNothing(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer(), "s3cret-token")
	app := l.client(l.serve(Route{}))
	send := func(method, path string) {
		t.Helper()
		resp := must(app.Do(l.request(method, l.plain()+path, "docs/crm", nil)))
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode, string(text), err)
		}
	}
	try := func(rules ...keybearer.Rule) string {
		trial := &keybearer.Trial{ID: keybearer.NewID(keybearer.IDTrial), Rules: rules, Since: time.Now(), By: "user:ann"}
		c = l.update(c, func(c *keybearer.Credential) { c.Trial = trial })
		return trial.ID
	}
	send("GET", "/v2")
	trial := try(l.rules(l.destination.URL+"/v1", "GET")...)
	send("GET", "/v1/a")  // would be allowed
	send("GET", "/v2")    // another path
	send("POST", "/v1/a") // another method
	c = l.update(c, func(c *keybearer.Credential) { c.Trial = nil })
	send("GET", "/v2")

	want := []keybearer.Code{"", "", keybearer.DestinationNotAllowed, keybearer.MethodNotAllowed, ""}
	events := l.events(len(want))
	if len(events) != 2*len(want) {
		t.Fatalf("%d events", len(events))
	}
	for i := range events {
		e := &events[i]
		code, id := want[i/2], ""
		if code != "" {
			id = trial
		}
		if e.WouldRefuse != code || e.Trial != id || e.Decision != keybearer.Allow || e.Code != "" || e.Rule != l.destination.URL {
			t.Errorf("%d: %+v", i, e)
		}
	}
}

// What is refused anyway, the trial says nothing of; nor does it when a request that it spoke of is refused after all.
func TestATrialSaysNothingOfWhatIsRefused(t *testing.T) {
	l := newLab(t)
	c := l.credential("crm", l.bearer("GET"), "s3cret-token")
	c = l.update(c, func(c *keybearer.Credential) {
		c.Trial = &keybearer.Trial{ID: "try_a", Rules: l.rules(l.destination.URL+"/v1", "GET"), Since: time.Now()}
	})
	refused := l.call("docs/crm")
	refused.Method = "POST"
	if _, err := l.proxy.Gate().Admit(t.Context(), refused); err == nil || err.Code != keybearer.MethodNotAllowed {
		t.Fatal(err)
	}
	p, err := l.proxy.Gate().Admit(t.Context(), l.call("docs/crm"))
	if err != nil {
		t.Fatal(err)
	}
	l.update(c, func(c *keybearer.Credential) { c.Disabled = true })
	err = p.Renew(t.Context())
	if err == nil || err.Code != keybearer.CredentialDisabled {
		t.Fatal(err)
	}
	p.Finish(Result{Err: err})
	events := l.events(2)
	if len(events) != 3 || events[0].WouldRefuse != "" || events[1].WouldRefuse != keybearer.DestinationNotAllowed || events[2].WouldRefuse != "" || events[2].Trial != "" {
		t.Errorf("%+v", events)
	}
}
