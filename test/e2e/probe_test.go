package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/test/harness"
)

// A test request reaches the destination once, with the secret and nothing of who sent it, over the admin socket and over TCP; the audit log names who sent
// it beside the app. Who does not administer the credential sends nothing, and what the app may not ask for is refused.
func TestATestRequestArrivesOnce(t *testing.T) {
	w := newWorld(t)
	nginx := harness.StartNginx(t, w.ca, "api.example.com", false)
	w.dns.Set("api.example.com", nginx.Addr.Addr())
	w.billing("api.example.com")
	binary, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{}
	for name, level := range map[string]string{"ann": "administer", "eve": "edit"} {
		token := w.must("", "operator", "create", name)
		w.planted = append(w.planted, token)
		tokens[name] = harness.WriteFile(t, filepath.Join(harness.Dir(t), name+".token"), []byte(token))
		w.must("", "grant", "add", "docs/crm", "user:"+name, level)
	}
	// send tests the credential as an operator, or over the socket.
	send := func(as string, code int, url string) (r admin.TestResult) {
		t.Helper()
		env := w.Env()
		if as != "" {
			env = append(env, "KEYBEARER_ADDR=http://"+w.Admin.String(), "KEYBEARER_TOKEN_FILE="+tokens[as])
		}
		out := harness.Run(t, harness.Command{
			Path: binary, Args: []string{"credential", "test", "docs/crm", "--caller", "app:billing", url, "-o", "json"}, Env: env, Dir: filepath.Dir(w.Config),
		}, "")
		if out.Code != code {
			t.Fatalf("%q: exit code %d, not %d\n%s%s", as, out.Code, code, out.Stdout, out.Stderr)
		}
		for _, secret := range w.planted {
			if strings.Contains(out.Stdout+out.Stderr, secret) {
				t.Errorf("%q is shown %s", as, secret)
			}
		}
		if out.Stdout != "" {
			if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
				t.Fatalf("%v: %s", err, out.Stdout)
			}
		} else if !strings.Contains(out.Stderr, "(forbidden)") {
			t.Errorf("%q is told %s", as, out.Stderr)
		}
		return r
	}

	if r := send("eve", 4, "https://api.example.com/eve"); r.RequestID != "" {
		t.Errorf("eve, who may edit only: %+v", r)
	}
	refused := send("ann", 4, "https://other.example.com/")
	if refused.Code != keybearer.DestinationNotAllowed || refused.Status != 403 || refused.Fields != nil {
		t.Errorf("a destination of no rule: %+v", refused)
	}
	if e := w.event(t, refused.RequestID, keybearer.Outcome); e.Kind != keybearer.RefusalEvent || e.Operator != "ann" || e.Caller != "billing" {
		t.Errorf("%+v", e)
	}
	for path, as := range map[string]string{"/socket": "", "/tcp": "ann"} {
		operator := cmp.Or(as, fmt.Sprintf("uid-%d", os.Geteuid()))
		r := send(as, 0, "http://api.example.com"+path)
		if r.Status != 200 || r.Code != "" || r.Bytes != 2 || r.Cut || !strings.Contains(strings.Join(r.Fields, " "), "Content-Type") {
			t.Errorf("%s: %+v", path, r)
		}
		for _, phase := range []keybearer.Phase{keybearer.Intent, keybearer.Outcome} {
			e := w.event(t, r.RequestID, phase)
			if e.Kind != keybearer.UseEvent || e.Caller != "billing" || e.Path != path || e.Operator != operator {
				t.Errorf("%s of %s: %+v", phase, path, e)
			}
		}
	}
	var all []*harness.Arrival
	harness.Await(t, "both requests in the log of nginx", 10*time.Second, func() error {
		if all = nginx.All(t); len(all) < 2 {
			return fmt.Errorf("%d", len(all))
		}
		return nil
	})
	w.checkAudit(t, 2, 2) // eve's is a refusal, too
	if !slices.ContainsFunc(w.events(t), func(e keybearer.Event) bool {
		return e.Operator == "eve" && e.Action == "credential.test" && e.Code == keybearer.Forbidden
	}) {
		t.Error("the audit log does not tell that eve tried")
	}
	if len(all) != 2 || all[0].Target == all[1].Target {
		t.Fatalf("%d requests arrived: %+v", len(all), all)
	}
	for _, a := range all {
		w.right(t, a, "docs/crm")
		if a.Method != "GET" {
			t.Errorf("%s arrived", a.Method)
		}
	}
}
