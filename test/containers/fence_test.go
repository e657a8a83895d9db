package containers

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// With the rules of deploy/kubernetes/fence in a pod's network, Keybearer's user connects out of it and no other does; the pod's loopback and who comes in are as
// ever. Without them the app's user connects out too.
func TestTheFenceLetsKeybearerOutAlone(t *testing.T) {
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(text(t, "deploy/kubernetes/fence/rules.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	rules := harness.WriteFile(t, filepath.Join(harness.Dir(t), "rules.nft"), []byte(config.Data["rules.nft"]))
	pod := newIsland(t, "198.51.100.1", "198.51.100.2")
	listen(t, "198.51.100.1:443")
	server := harness.Start(t, harness.Command{Name: "app", Path: "nsenter", Args: append(strings.Fields(pod.line())[1:],
		"setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "/usr/bin/python3", "-m", "http.server", "--directory", harness.Dir(t), "8080")})
	get := func(in string, user, url string) bool {
		line := "curl -sS -o /dev/null --max-time 5 " + url
		if user != "" {
			line = "setpriv --reuid=" + user + " --regid=" + user + " --clear-groups " + line
		}
		return exec.Command("sh", "-c", in+" "+line).Run() == nil
	}
	harness.Await(t, "the app", 20e9, func() error {
		return exec.Command("sh", "-c", pod.line()+" curl -s -o /dev/null http://127.0.0.1:8080/").Run()
	})
	if server.Ended() {
		t.Fatal(server.Output(t))
	}
	if !get(pod.line(), "10001", "http://198.51.100.1:443/") {
		t.Fatal("the test cannot tell: without rules the app has no way out")
	}
	pod.must(t, pod.line()+" nft --file "+rules)
	pod.must(t, pod.line()+" nft --file "+rules) // again, after the container was started anew
	for _, c := range []struct {
		what, in, user, url string
		passes              bool
	}{
		{"Keybearer goes out", pod.line(), "65532", "http://198.51.100.1:443/", true},
		{"the app does not", pod.line(), "10001", "http://198.51.100.1:443/", false},
		{"nor does root, whoever became it", pod.line(), "0", "http://198.51.100.1:443/", false},
		{"the app reaches loopback", pod.line(), "10001", "http://127.0.0.1:8080/", true},
		{"who comes in gets an answer", "", "", "http://198.51.100.2:8080/", true},
	} {
		if get(c.in, c.user, c.url) != c.passes {
			t.Errorf("%s: not so", c.what)
		}
	}
}
