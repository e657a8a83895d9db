package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keybearer/keybearer/internal/demo"
)

// The test binary is also the program: run under the name keybearer, it is main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keybearer": main})
}

// socketOnly is a configuration that listens on the admin socket and nowhere else, so that tests need no free ports.
const socketOnly = `{
	admin off
	persist_config off
	keybearer
}
`

// startServer runs "keybearer run" with the home dir, the configuration and more of an environment.
func startServer(ctx context.Context, home, config string, env ...string) (*demo.Server, error) {
	program, err := exec.LookPath("keybearer")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return demo.StartServer(ctx, home, env, program, "run", "--config", path)
}

// TestScripts runs the transcripts of testdata/script. Beside testscript's own commands they have
//
//	server [file]        start a server whose home is $KEYBEARER_HOME, with this Caddyfile or one that only has the socket; $PORT is a
//	                     free port, in the Caddyfile {$PORT}
//	halt                 end it; it must end well
//	exits n program …    run a program that must end with exactly this exit code
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("KEYBEARER_HOME", home)
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": cmdServer,
			"halt":   cmdHalt,
			"exits":  cmdExits,
		},
	})
}

// servers are those that scripts started; each script has one at a time.
var servers sync.Map

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: server [Caddyfile]")
	}
	config := socketOnly
	if len(args) == 1 {
		config = ts.ReadFile(args[0])
	}
	port, err := demo.FreePort()
	ts.Check(err)
	ts.Setenv("PORT", strconv.Itoa(port))
	server, err := startServer(context.Background(), ts.Getenv("KEYBEARER_HOME"), config, "PORT="+strconv.Itoa(port))
	ts.Check(err)
	servers.Store(ts, server)
	ts.Defer(func() { _ = server.Stop() })
}

func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	server, ok := servers.LoadAndDelete(ts)
	if neg || len(args) > 0 || !ok {
		ts.Fatalf("usage: halt, once after server")
	}
	ts.Check(server.(*demo.Server).Stop())
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
