package main

import (
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/demo"
	"github.com/keybearer/keybearer/test/harness"
)

// stock is what a server has before an example runs: in a list of command lines.
var (
	scopesOnly = []string{
		"keybearer scope create docs",
		"keybearer scope generate-key docs",
		"keybearer scope create crm",
	}
	stocked = append(scopesOnly[:3:3],
		"keybearer scope create old",
		"printf 's3cret' | keybearer credential create docs/crm --kind bearer --domain api.example.com",
		`printf 'user\npass' | keybearer credential create docs/legacy --kind basic --domain 'https://*.example.com:8443/hooks'`,
		"printf 'k' | keybearer credential create docs/aws --kind header --header X-Api-Key --domain aws.example.com",
		"keybearer caller create billing --scope docs",
		"keybearer grant add docs/crm app:billing use",
		"keybearer grant add docs/crm group:sales use",
		"keybearer operator create ada",
	)
)

// movingHouse has a new keyring and a new store beside those that were there.
const movingHouse = `{
	admin off
	persist_config off
	keybearer {
		keyring local {$KEYBEARER_HOME}/new.key
		former_keyring local
		store sqlite {$KEYBEARER_HOME}/new.db
		former_store sqlite
	}
}
`

// refusedStore is a line that writes an anchor as a server leaves it that has found an older store.
const refusedStore = `cd $KEYBEARER_HOME && printf 'keybearer anchor 1\nstore 0011223344556677 sqlite 9 refused 7\n' > older && ` +
	`printf 'sum %s\n' "$(sha256sum < older | cut -c 1-32)" >> older && mv older anchor`

// before are the command lines that an example needs to have been run; the rest needs none but stocked.
var before = map[string]struct {
	stock  []string
	more   []string
	config string // of the server, if not socketOnly
	reach  string // name of a destination that is there
}{
	"keybearer":                     {stock: nil},
	"keybearer scope create":        {stock: nil},
	"keybearer scope generate-key":  {stock: []string{"keybearer scope create docs"}},
	"keybearer credential create":   {stock: scopesOnly},
	"keybearer caller create":       {stock: scopesOnly},
	"keybearer operator create":     {stock: scopesOnly},
	"keybearer credential enable":   {stock: stocked, more: []string{"keybearer credential disable docs/crm"}},
	"keybearer credential rollback": {stock: stocked, more: []string{"printf 'new' | keybearer credential set-secret docs/crm"}},
	"keybearer credential restore":  {stock: stocked, more: []string{"keybearer credential delete docs/crm"}},
	"keybearer domain remove":       {stock: stocked, more: []string{"printf 's3cret' | keybearer domain add docs/crm hooks.example.com"}},
	"keybearer domain trial":        {stock: stocked, more: []string{"keybearer domain try docs/crm api.example.com/v1"}},
	"keybearer domain enforce":      {stock: stocked, more: []string{"keybearer domain try docs/crm api.example.com/v1"}},
	"keybearer domain discard":      {stock: stocked, more: []string{"keybearer domain try docs/crm api.example.com/v1"}},
	"keybearer caller enable":       {stock: stocked, more: []string{"keybearer caller disable billing"}},
	"keybearer caller unbind":       {stock: stocked, more: []string{"keybearer caller bind billing crm"}},
	"keybearer migrate keyring":     {stock: stocked, config: movingHouse},
	"keybearer migrate store":       {stock: stocked, config: movingHouse},
	"keybearer anchor accept":       {stock: stocked, more: []string{refusedStore}},
	"keybearer operator setup":      {stock: scopesOnly, config: consoleOnSocket},
	"keybearer credential test": {stock: stocked, reach: "api.example.com", more: []string{
		"keybearer domain remove docs/crm api.example.com", "printf 's3cret' | keybearer domain add docs/crm api.example.com --private",
	}},
	"keybearer operator enable": {stock: stocked, more: []string{"keybearer operator disable ada"}},
}

// consoleOnSocket serves the console where nobody comes.
const consoleOnSocket = socketOnly + `
http:// {
	bind unix/{$KEYBEARER_HOME}/console.sock
	keybearer_admin {
		public_url https://keybearer.example.com
	}
}
`

// reaching is a configuration that finds a destination of that name on loopback.
func reaching(t *testing.T, host string) string {
	t.Helper()
	ca, dns := harness.NewCA(t), harness.StartDNS(t)
	destination := harness.StartRecorder(t, harness.RecorderOptions{Name: host, TLS: harness.ServerTLS(ca.Issue(t, time.Time{}, host))})
	dns.Set(host, destination.Addr.Addr())
	return strings.Replace(socketOnly, "keybearer\n", "keybearer {\ntrust "+ca.File+"\nallow_private 127.0.0.0/8\nresolver "+dns.Addr+"\n}\n", 1)
}

// Every command has examples, and every example works as it is written. docs/cli.md shows the same ones.
func TestExamples(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Example == "" {
			if !cmd.HasSubCommands() {
				t.Errorf("%s has no example", cmd.CommandPath())
			}
			return
		}
		t.Run(strings.TrimPrefix(cmd.CommandPath(), "keybearer "), func(t *testing.T) {
			t.Parallel()
			tryExamples(t, cmd)
		})
	}
	walk(newCLI().rootCommand())
}

func tryExamples(t *testing.T, cmd *cobra.Command) {
	work := t.TempDir()
	for name, text := range map[string]string{"Caddyfile": socketOnly, "crm.secret": "s3cret\n"} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		lines = append(lines, strings.TrimSpace(line))
	}
	if cmd.Name() == "run" {
		for _, line := range lines {
			tryRun(t, work, line)
		}
		return
	}
	prepared, ok := before[cmd.CommandPath()]
	if !ok {
		prepared.stock = stocked
	}
	home := stockedHome(t, prepared.stock)
	if prepared.reach != "" {
		prepared.config = reaching(t, prepared.reach)
	}
	server, err := startServer(t.Context(), home, cmp.Or(prepared.config, socketOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, line := range append(prepared.more[:len(prepared.more):len(prepared.more)], lines...) {
		shell(t, home, work, line)
	}
}

// tryRun starts the server as the line says, waits until it serves, and ends it.
func tryRun(t *testing.T, work, line string) {
	home, err := os.MkdirTemp(work, "home")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(line, "--config") {
		if err := os.WriteFile(filepath.Join(home, "Caddyfile"), []byte(socketOnly), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var env []string
	for _, name := range []string{"KEYBEARER_PORT", "KEYBEARER_ADMIN_PORT"} {
		port, err := demo.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strconv.Itoa(port))
	}
	server, err := demo.StartServer(t.Context(), home, env, "sh", "-c", "exec env "+line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if err := server.Stop(); err != nil {
		t.Errorf("%s: %v", line, err)
	}
}

// shell runs a line as a user would type it, and returns its standard output. It must succeed without a word of error.
func shell(t *testing.T, home, work, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "KEYBEARER_HOME="+home, "HOME="+work)
	var out, talk strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil || strings.Contains(talk.String(), "keybearer: error:") {
		t.Fatalf("%s: %v\n%s%s", line, err, out.String(), talk.String())
	}
	return out.String()
}

var stocks struct {
	sync.Mutex
	homes map[string]string
}

// stockedHome returns a home of its own in which the lines have been run. Each list is run once, and its home copied.
func stockedHome(t *testing.T, lines []string) string {
	t.Helper()
	stocks.Lock()
	defer stocks.Unlock()
	if stocks.homes == nil {
		stocks.homes = map[string]string{}
	}
	key := strings.Join(lines, "\n")
	source, ok := stocks.homes[key]
	if !ok {
		var err error
		if source, err = os.MkdirTemp(filepath.Dir(programPath(t)), "home"); err != nil { // lives as long as the program's copy
			t.Fatal(err)
		}
		server, err := startServer(t.Context(), source, socketOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			shell(t, source, source, line)
		}
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		stocks.homes[key] = source
	}
	home := filepath.Join(t.TempDir(), "home")
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return os.Mkdir(filepath.Join(home, rel), 0o700)
		case entry.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(home, rel), text, 0o600)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return home
}

func programPath(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("keybearer")
	if err != nil {
		t.Fatal(err)
	}
	return program
}
