package examples

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// workflow returns a workflow as its reader adapts it: the addresses of this world in place of those of the pages.
func (w *world) workflow(t *testing.T, name, host string) string {
	t.Helper()
	ran(name)
	text, err := os.ReadFile(file(name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("127.0.0.1:9080", w.Proxy.String(), "api.example.com", host).Replace(string(text))
}

func (w *world) workflows(t *testing.T) {
	engines := filepath.Join(harness.Repository(), "test", "examples")

	t.Run("n8n", func(t *testing.T) {
		t.Parallel()
		// send returns what the two nodes got.
		send := func(workflow, token string, env ...string) (answers, failures []string) {
			t.Helper()
			in, err := json.Marshal(map[string]any{"workflow": json.RawMessage(workflow), "token": token})
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(engines, "n8n")
			r := harness.Run(t, harness.Command{Path: "node", Args: []string{"send.cjs"}, Dir: dir, Env: append(env, "HOME="+harness.Dir(t))}, string(in))
			w.silent(t, r.Stdout+r.Stderr)
			for lines := json.NewDecoder(strings.NewReader(r.Stdout)); ; {
				var one struct{ Answer, Error string }
				if err := lines.Decode(&one); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in %q; stderr: %s", err, r.Stdout, r.Stderr)
				}
				if one.Error != "" {
					failures = append(failures, one.Error)
				} else {
					answers = append(answers, one.Answer)
				}
			}
			if len(answers)+len(failures) != 2 {
				t.Fatalf("not two nodes ran: %q %q; stderr: %s", answers, failures, r.Stderr)
			}
			return answers, failures
		}
		// Where n8n's whole container goes through Keybearer, the second node needs neither proxy nor credential nor header.
		container := strings.NewReplacer(fmt.Sprintf(`"proxy": "http://%s",`, w.Proxy), "", `"genericAuthType": "httpHeaderAuth"`, `"genericAuthType": "none"`,
			`"parameters": [{ "name": "Keybearer-Credential", "value": "docs/crm" }]`, `"parameters": []`, `"httpHeaderAuth": {`, `"none": {`)
		environment := []string{"HTTP_PROXY=" + w.userinfo(w.token), "NO_PROXY=" + w.Proxy.Addr().String()}
		for host := range w.receivers {
			workflow := w.workflow(t, "workflow/n8n.json", host)
			answers, failures := send(workflow, w.token)
			more, worse := send(container.Replace(workflow), w.token, environment...)
			if len(failures)+len(worse) > 0 {
				t.Errorf("%s: %q, %q", host, failures, worse)
			}
			for _, a := range append(answers, more...) {
				w.received(t, host, "/hook", a)
			}
		}
		for _, bad := range []struct{ host, token, says string }{
			{"other.example.com", w.token, "destination_not_allowed"},
			{"go.example.com", "kb_wrong", "caller_unauthenticated"},
			{"moved.example.com", w.token, "302"},
		} {
			answers, failures := send(w.workflow(t, "workflow/n8n.json", bad.host), bad.token)
			if len(answers) > 0 {
				t.Errorf("%s: %q", bad.host, answers)
			}
			for _, f := range failures {
				if !strings.Contains(f, bad.says) {
					t.Errorf("%s: says nothing of %s: %s", bad.host, bad.says, f)
				}
			}
		}
	})

	t.Run("Node-RED", func(t *testing.T) {
		t.Parallel()
		node := filepath.Join(engines, "node-red")
		// run starts the engine with the flows, which send at once, and waits until both answers stand in its log.
		run := func(host, token string) string {
			t.Helper()
			dir := harness.Dir(t)
			flows := harness.WriteFile(t, filepath.Join(dir, "flows.json"), []byte(w.workflow(t, "workflow/node-red.json", host)))
			p := harness.Start(t, harness.Command{
				Name: "node-red", Path: "node", Dir: dir,
				Args: []string{filepath.Join(node, "node_modules/node-red/red.js"), "--userDir", dir, "--settings", filepath.Join(node, "settings.js"), flows},
				Env: []string{
					"HOME=" + dir, "HTTP_PROXY=" + w.userinfo(token), "NO_PROXY=" + w.Proxy.Addr().String(), "KEYBEARER_TOKEN=" + token,
				},
			})
			harness.Await(t, "two answers", time.Minute, func() error {
				if n := strings.Count(p.Output(t), "[debug:answer]"); n != 2 {
					return fmt.Errorf("%d answers", n)
				}
				return nil
			})
			w.silent(t, p.Output(t))
			return p.Output(t)
		}
		for host := range w.receivers {
			_, answers, _ := strings.Cut(run(host, w.token), "[debug:answer]")
			for _, a := range strings.Split(answers, "[debug:answer]") {
				w.received(t, host, "/hook", a)
			}
		}
		if log := run("other.example.com", w.token); strings.Count(log, "destination_not_allowed") < 2 {
			t.Errorf("the refusals do not show: %s", log)
		}
		// In a tunnel that is refused the node learns the status alone.
		if log := run("go.example.com", "kb_wrong"); !strings.Contains(log, "caller_unauthenticated") || !strings.Contains(log, "407") {
			t.Errorf("the refusals do not show: %s", log)
		}
	})
}
