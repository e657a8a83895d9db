package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer/test/harness"
)

// The script of the containers "audit" prints every line once and in order over the files that it begins, also those that are written to an old file before the
// writer notices; keeps ten old files; and ends when it is asked to.
func TestTheAuditContainerPrintsAndTurnsOver(t *testing.T) {
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(text(t, "deploy/kubernetes/gateway/config.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	dir := harness.Dir(t)
	quick := strings.NewReplacer("cd /audit ", "cd "+dir+" ", "sleep 10 ", "sleep 0.2 ", "sleep 1;", "sleep 0.1;", "sleep 3 ", "sleep 0.5 ", "+%Y%m%dT%H%M%S", "+%Y%m%dT%H%M%S%N")
	script := quick.Replace(config.Data["audit.sh"])
	if strings.Count(script, "0.") != 3 {
		t.Fatalf("the script's waits are others than this test knows:\n%s", script)
	}
	file := harness.WriteFile(t, filepath.Join(harness.Dir(t), "audit.sh"), []byte(script))
	for i := range 12 { // of earlier days
		harness.WriteFile(t, filepath.Join(dir, fmt.Sprintf("audit-202601%02dT000000.jsonl", i+1)), nil)
	}
	p := harness.Start(t, harness.Command{Name: "audit", Path: "sh", Args: []string{file}, Env: []string{"AUDIT_BYTES=1000"}})
	log := filepath.Join(dir, "audit.jsonl")
	open := func() *os.File {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	defer func() { _ = f.Close() }()
	var want strings.Builder
	turns := 0
	// As Keybearer does, the writer looks whether its file is still the log every now and then.
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for i := 0; turns < 2; i++ {
		line := fmt.Sprintf("{\"id\":\"%06d\"}\n", i)
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		want.WriteString(line)
		if i%50 == 0 {
			if _, err := os.Stat(log); err != nil {
				_ = f.Close()
				f = open()
				turns++
			}
		}
		<-tick.C
	}
	harness.Await(t, "all lines, and old files that are removed", 30*time.Second, func() error {
		old, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
		if err != nil || len(old) != 10 {
			return fmt.Errorf("%d files, %v", len(old), err)
		}
		if got := strings.Count(p.Output(t), "{"); got < strings.Count(want.String(), "{") {
			return fmt.Errorf("%d lines are printed", got)
		}
		return nil
	})
	p.Stop(t)
	var printed strings.Builder
	for line := range strings.Lines(p.Output(t)) {
		if strings.HasPrefix(line, "{") {
			printed.WriteString(line)
		}
	}
	if printed.String() != want.String() {
		t.Errorf("printed\n%s", printed.String())
	}
}
