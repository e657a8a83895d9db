package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/demo"
)

// "audit tail -f" shows what happens while it runs, and Ctrl-C is its good end.
func TestAuditFollow(t *testing.T) {
	home := stockedHome(t, scopesOnly)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	cmd := exec.CommandContext(t.Context(), programPath(t), "audit", "tail", "-f", "-n", "1", "-o", "json")
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+home)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var talk strings.Builder
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() (e keybearer.Event) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ended: %v %s", lines.Err(), talk.String())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); e.Scope != "crm" {
		t.Errorf("the newest event is %+v", e)
	}
	// The line above shows that it follows by now: the subscription begins before the tail is sent.
	for _, name := range []string{"one", "two"} {
		shell(t, home, home, "keybearer scope create "+name)
		if e := next(); e.Action != "scope.create" || e.Scope != name {
			t.Errorf("followed %+v, want the creation of %s", e, name)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("one more line: %s", lines.Text())
	}
	if err := cmd.Wait(); err != nil || talk.Len() > 0 {
		t.Errorf("%v %s, want a good end", err, talk.String())
	}
}

// When the server ends, following is cut off, and says so.
func TestAuditFollowServerEnds(t *testing.T) {
	home := stockedHome(t, scopesOnly)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), programPath(t), "audit", "tail", "-f", "-n", "1", "-o", "name")
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+home)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no line")
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
	for lines.Scan() {
	}
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != keybearer.ExitUnreachable {
		t.Errorf("exit code %d, want %d", got, keybearer.ExitUnreachable)
	}
}

// A credential in use is not deleted before whoever deletes it has heard by whom it is used.
func TestDeleteTellsWhoUsesIt(t *testing.T) {
	destination, err := demo.NewDestination()
	if err != nil {
		t.Fatal(err)
	}
	defer destination.Close()
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "ca.pem"), destination.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := demo.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	server, err := startServer(t.Context(), home, demoCaddyfile(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	s := &stage{proxy: fmt.Sprintf("127.0.0.1:%d", port)}
	for _, line := range []string{
		"keybearer scope create docs",
		"keybearer scope generate-key docs",
		"printf s3cret | keybearer credential create docs/crm --kind bearer --private --domain https://" + destination.Addr,
	} {
		shell(t, home, home, line)
	}
	token := strings.TrimSpace(shell(t, home, home, "keybearer caller create billing --scope docs"))
	shell(t, home, home, "keybearer grant add docs/crm app:billing use")
	req := post("http://"+destination.Addr+"/hook", "{}", "Keybearer-Credential", "docs/crm")
	status, answer, _, err := send(t.Context(), req, s.proxyURL("_", token))
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	<-destination.Arrived()

	// The ledger learns of it from the audit log, a moment later.
	client, err := admin.NewClient(admin.ClientConfig{Socket: filepath.Join(home, "admin.sock")})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		x, err := client.Credential(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"})
		if err != nil {
			t.Fatal(err)
		}
		if x.Usage != nil && x.Usage.Count == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the use was not counted: %+v", x.Usage)
		}
	}
	cmd := exec.CommandContext(t.Context(), programPath(t), "credential", "delete", "docs/crm")
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+home)
	text, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != keybearer.ExitConflict {
		t.Errorf("exit code %d, want %d\n%s", got, keybearer.ExitConflict, text)
	}
	for _, want := range []string{"app:billing used docs/crm", "1 times", destination.Addr, "(recently_used)", "keybearer credential delete docs/crm --force"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("nothing about %q in\n%s", want, text)
		}
	}
	for _, line := range []string{"keybearer usage docs/crm", "keybearer usage --scope docs"} {
		if shown := shell(t, home, home, line); !regexp.MustCompile(`(?m)^used +1\n +·+█·?$`).MatchString(shown) {
			t.Errorf("%s does not show the use:\n%s", line, shown)
		}
	}
	if shown := shell(t, home, home, "keybearer credential show docs/crm"); !regexp.MustCompile(`(?m)^last 24h +·+█·?$`).MatchString(shown) {
		t.Errorf("the use is not shown:\n%s", shown)
	}
	if shown := shell(t, home, home, "keybearer credential list --unused -o name"); shown != "" {
		t.Errorf("said to be unused: %s", shown)
	}
	shell(t, home, home, "keybearer credential delete docs/crm --force")
	shell(t, home, home, "keybearer credential restore docs/crm")
}
