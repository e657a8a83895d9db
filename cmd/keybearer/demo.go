package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/internal/demo"
)

func (c *cli) demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show what it does, on this machine, in a temporary home",
		Long: `Show what Keybearer does: start a server in a temporary home and a destination with a certificate of its own, make a credential of each
kind, send webhooks as apps would, and show what they sent beside what the destination received, what was refused and why, and what
the audit log says. Nothing leaves this machine, and nothing stays when it ends.

With --once it ends by itself, with exit code 0 if everything was as it should be. Otherwise it stays up, with command lines to
try, until Ctrl-C.`,
		Example: "  keybearer demo --once",
		Args:    need(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return c.playDemo(ctx, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end when everything was shown")
	return cmd
}

// stage is a demo that runs: the server, the destination, and what was found wrong so far.
type stage struct {
	c           *cli
	p           *screen
	executable  string // this program
	caddyfile   func(port int) string
	home        string
	proxy       string // host:port
	destination *demo.Destination
	server      *demo.Server

	secrets []string // every secret made, for the search at the end
	try     []string // command lines for the reader
	held    int
	failed  []string
}

func (c *cli) playDemo(ctx context.Context, once bool) error {
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	s := &stage{c: c, p: newScreen(c.out, c.style), executable: executable, caddyfile: demoCaddyfile}
	err = s.run(ctx, once)
	if err != nil && ctx.Err() != nil {
		return errInterrupted // by whoever knows it
	}
	return err
}

// run sets the stage, plays, and clears it away whatever happens. An error says what went wrong, or which checks failed.
func (s *stage) run(ctx context.Context, once bool) (err error) {
	if s.home, err = os.MkdirTemp("", "keybearer-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.home)) }()
	if s.destination, err = demo.NewDestination(); err != nil {
		return err
	}
	defer s.destination.Close()
	if err := s.start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.server.Stop()) }()

	s.title()
	if err := s.play(ctx); err != nil {
		return err
	}
	if err := s.verdict(); err != nil || once {
		return err
	}
	return s.stay(ctx)
}

// start writes the configuration and runs this very program with it on a free port. Somebody else may take the port meanwhile, so it
// tries three times.
func (s *stage) start(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(s.home, "ca.pem"), s.destination.RootPEM(), 0o600); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		port, err := demo.FreePort()
		if err != nil {
			return err
		}
		s.proxy = fmt.Sprintf("127.0.0.1:%d", port)
		config := filepath.Join(s.home, "Caddyfile")
		if err := os.WriteFile(config, []byte(s.caddyfile(port)), 0o600); err != nil {
			return err
		}
		s.server, err = demo.StartServer(ctx, s.home, nil, s.executable, "run", "--config", config)
		if err == nil || ctx.Err() != nil || attempt == 3 || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
	}
}

func demoCaddyfile(port int) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	keybearer {
		trust {env.KEYBEARER_HOME}/ca.pem
		allow_private 127.0.0.0/8
	}
}
http://:%d {
	bind 127.0.0.1
	keybearer
}
`, port)
}

// check notes whether something holds, and shows it.
func (s *stage) check(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.p.check(ok, text)
	if ok {
		s.held++
	} else {
		s.failed = append(s.failed, text)
	}
}

// verdict tells what came of it; an error says that not everything held.
func (s *stage) verdict() error {
	if len(s.failed) == 0 {
		s.p.printf("\n%s\n", s.c.style.green(fmt.Sprintf("All %d checks held.", s.held)))
		return nil
	}
	return fmt.Errorf("%d of %d checks failed:\n%s", len(s.failed), len(s.failed)+s.held, strings.Join(s.failed, "\n"))
}

// keybearer runs a command line of this program against the demo's server, shows both, and returns what it printed to standard output.
func (s *stage) keybearer(ctx context.Context, stdin string, args ...string) (string, error) {
	shown := "keybearer " + quoted(args)
	if stdin != "" {
		shown = "printf " + quote(strings.ReplaceAll(stdin, "\n", `\n`)) + " | " + shown
	}
	s.p.command(shown)
	out, talk, status := s.silently(ctx, stdin, args...)
	s.p.indented(talk)
	if status != 0 {
		return out, fmt.Errorf("%s: exit code %d", shown, status)
	}
	return out, nil
}

// silently is keybearer without a word.
func (s *stage) silently(ctx context.Context, stdin string, args ...string) (out, talk string, status int) {
	var stdout, stderr bytes.Buffer
	inner := &cli{
		in: strings.NewReader(stdin), out: &stdout, err: &stderr, now: s.c.now, format: asTable,
		style: s.c.style, errStyle: s.c.style,
		getenv: func(name string) string {
			switch name {
			case "KEYBEARER_HOME":
				return s.home
			case "KEYBEARER_ADDR", "KEYBEARER_TOKEN_FILE":
				return ""
			}
			return s.c.getenv(name)
		},
	}
	status = inner.execute(ctx, args)
	return stdout.String(), stderr.String(), status
}

// quoted joins words as one would write them in a shell.
func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quote(w)
	}
	return strings.Join(out, " ")
}

func quote(word string) string {
	if word != "" && strings.IndexFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=@%+", r)
	}) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// stay shows what arrives until ctx ends, which is its good end, or the server does.
func (s *stage) stay(ctx context.Context) error {
	s.p.heading(6, "Try it", "until Ctrl-C; what arrives is shown here")
	for _, text := range s.try {
		s.p.command(text)
	}
	for {
		select {
		case <-ctx.Done():
			s.p.printf("\n")
			return nil
		case <-s.server.Exited():
			return errors.New("the server ended:\n" + s.server.Tail(4))
		case <-s.destination.Arrived():
			for _, r := range s.destination.Take() {
				s.p.printf("\n")
				s.p.alone(box{"the destination received", receivedLines(r, s.secrets)})
			}
		}
	}
}
