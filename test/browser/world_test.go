// Package browser tests the console: Debian's Chromium, driven by playwright-core, uses the real binary as a person would, and axe-core
// looks at every page. What happens in the browser is written in flows/*.mjs, one file for each flow; a test here starts the
// server, plays flows, and answers what they ask of the world outside the browser.
package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

// destination is the host of the world's nginx.
const destination = "hooks.example.com"

// world is a lab, see [harness.Lab], with nginx as a destination and an operator who may do everything.
type world struct {
	*harness.Lab
	t     *testing.T
	nginx *harness.Nginx
	ada   string // the token of the operator ada, an instance admin

	tokens map[string]string // of the sample's operators, by name
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, Lab: harness.StartLab(t, harness.LabOptions{})}
	w.nginx = harness.StartNginx(t, w.CA, destination, false)
	w.At(destination, w.nginx.Addr)
	w.ada = w.Do(t, "", "operator", "create", "ada", "--role", "instance-admin")
	return w
}

// play plays a flow. Its arguments hold what is given here and ada's token. What it may ask for beside further is in calls.
func (w *world) play(flow string, given map[string]any, further map[string]play.Call) {
	w.t.Helper()
	arguments := map[string]any{"token": w.ada}
	for name, value := range given {
		arguments[name] = value
	}
	calls := w.calls()
	for name, fn := range further {
		calls[name] = fn
	}
	play.Play(w.t, play.Plan{Flow: "browser/flows/" + flow + ".mjs", URL: "http://" + w.Admin.String(), Secrets: w.Secrets, Arguments: arguments}, calls)
}

// calls are what every flow may ask for.
func (w *world) calls() map[string]play.Call {
	return map[string]play.Call{
		// cli(stdin, args) runs a command that must succeed, and gives what it prints.
		"cli": func(args []json.RawMessage) (any, error) {
			var stdin string
			var command []string
			if err := play.Arguments(args, &stdin, &command); err != nil {
				return nil, err
			}
			r := w.CLI(w.t, stdin, command...)
			if r.Code != 0 {
				return nil, fmt.Errorf("keybearer %q: exit code %d: %s", command, r.Code, r.Stderr)
			}
			return r.Stdout, nil
		},
		// send(request) sends through the proxy and gives {status, code, body}; see outgoing.
		"send": func(args []json.RawMessage) (any, error) {
			o := outgoing{Method: "POST", URL: "http://" + destination + "/", Token: w.Token}
			if err := play.Arguments(args, &o); err != nil {
				return nil, err
			}
			return w.send(o)
		},
		// arrived() gives the requests that the destination has got so far, as {method, target, header}.
		"arrived": func(args []json.RawMessage) (any, error) {
			all := []any{}
			for _, a := range w.nginx.All(w.t) {
				header := map[string]string{}
				for _, f := range a.Header {
					header[f.Name] = f.Value
				}
				all = append(all, map[string]any{"method": a.Method, "target": a.Target, "header": header})
			}
			return all, play.Arguments(args)
		},
	}
}

// outgoing is a request of an app: a POST of the caller billing to the destination unless it says otherwise.
type outgoing struct {
	Credential string `json:"credential"`
	Method     string `json:"method"`
	URL        string `json:"url"` // http; the rule makes it https
	Token      string `json:"token"`
	Body       string `json:"body"`
}

func (w *world) send(o outgoing) (any, error) {
	r, err := http.NewRequest(o.Method, o.URL, bytes.NewReader([]byte(o.Body)))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Proxy-Authorization", "Bearer "+o.Token)
	r.Header.Set("Keybearer-Credential", o.Credential)
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: w.Proxy.String()})}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var problem struct{ Code string }
	_ = json.Unmarshal(body, &problem) // the destination's answer is none
	return map[string]any{"status": resp.StatusCode, "code": problem.Code, "body": string(body)}, err
}
