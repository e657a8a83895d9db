package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer/caddymodule"
	"github.com/keybearer/keybearer/internal/admin"
)

// builtIn is what messages call the Caddyfile inside the binary.
const builtIn = "the built-in Caddyfile"

func (c *cli) runCommand() *cobra.Command {
	var config, adapter, pidfile string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Start the server and stay in the foreground",
		Long: `Start the server and stay in the foreground.

Without --config it uses the file "Caddyfile" in the working directory, or, when there is none, a
Caddyfile that is built into the program: the proxy on 127.0.0.1:9080, the admin API on 127.0.0.1:9081
and on the socket, everything else under KEYBEARER_HOME.

SIGTERM and SIGINT end it once requests under way are done; SIGUSR1 reads the configuration again and
takes it over without dropping a request.`,
		Example: `  keybearer run
  keybearer run --config Caddyfile
  KEYBEARER_HOME=$HOME/keybearer keybearer run`,
		Args: need(),
		RunE: func(*cobra.Command, []string) error { return c.serve(config, adapter, pidfile) },
	}
	configFlags(cmd, &config, &adapter)
	cmd.Flags().StringVar(&pidfile, "pidfile", "", "`file` to write the process id to")
	return cmd
}

func configFlags(cmd *cobra.Command, config, adapter *string) {
	cmd.Flags().StringVarP(config, "config", "c", "", "configuration `file`; - is standard input")
	cmd.Flags().StringVarP(adapter, "adapter", "a", "", "`name` of the adapter that turns it into Caddy's JSON")
}

// serve runs until a signal ends the process. It returns only to say that the server did not start.
func (c *cli) serve(config, adapter, pidfile string) error {
	caddy.TrapSignals()
	// Logs wait until the configuration has said where they go.
	_, original, _ := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(original)

	// The memory limit of the container or the machine; the Go runtime itself sees to the CPUs.
	_, _ = memlimit.Set(memlimit.WithLogger(slog.New(slog.DiscardHandler)),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if os.Getenv("GOGC") == "" {
		// A proxy makes much short-lived garbage beside a small heap: collecting it less often costs some 25 MiB and saves a tenth of
		// the processor. The memory limit above still holds.
		debug.SetGCPercent(300)
	}

	text, source, used, err := loadConfig(config, adapter)
	if err != nil {
		return err
	}
	if pidfile != "" {
		if err := caddy.PIDFile(pidfile); err != nil {
			return fmt.Errorf("the process id cannot be written: %w", err)
		}
	}
	caddy.SetLastConfig(source, used, func(string, string) error {
		text, _, _, err := loadConfig(config, adapter)
		if err != nil {
			return err
		}
		return caddy.Load(text, true)
	})
	if err := caddy.Load(text, true); err != nil {
		return fmt.Errorf("the server cannot start with %s: %w", source, err)
	}
	if isTerminal(c.err) {
		c.hintOperator()
		c.note("serving with %s; keybearer doctor tells how it is, Ctrl-C ends it", source)
	} else {
		caddy.Log().Info("serving with " + source)
	}
	select {}
}

// hintOperator says how to come into the console while there is no operator yet: the socket needs none, the console does. It is a hint for whoever
// looks on, so that what cannot be found out goes without a word.
func (c *cli) hintOperator() {
	if c.getenv("KEYBEARER_ADDR") != "" { // of another server, perhaps
		return
	}
	client, err := c.client()
	if err != nil {
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if page, err := client.Operators(ctx, admin.ListQuery{Limit: 1}); err == nil && len(page.Items) == 0 {
		c.say(c.errStyle.cyan("hint:"), "no operator yet; for the console run: keybearer operator setup")
	}
}

// loadConfig returns the configuration as Caddy's JSON, what to call its source, and the adapter used.
func loadConfig(config, adapter string) (text []byte, source, used string, err error) {
	if config == "" && adapter == "" {
		if _, err := os.Stat("Caddyfile"); errors.Is(err, fs.ErrNotExist) {
			text, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddymodule.DefaultCaddyfile), map[string]any{"filename": builtIn})
			return text, builtIn, "caddyfile", err
		}
	}
	text, source, used, err = caddycmd.LoadConfig(config, adapter)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || config != "" && !exists(config) {
			return nil, "", "", &hintedError{err, "check the path, or leave --config out to use " + builtIn}
		}
		return nil, "", "", err
	}
	if config == "-" {
		source = "standard input"
	}
	return text, source, used, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return path == "-" || err == nil
}

func (c *cli) validateCommand() *cobra.Command {
	var config, adapter string
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Test a configuration without starting it",
		Long: `Test a configuration: it is read, adapted, and every module set up, but nothing is started, created or migrated.
Without --config it takes the same file as "keybearer run".`,
		Example: `  keybearer validate
  keybearer validate --config Caddyfile`,
		Args: need(),
		RunE: func(*cobra.Command, []string) error {
			return c.caddyVoice(func() error {
				text, source, _, err := loadConfig(config, adapter)
				if err != nil {
					return err
				}
				var parsed *caddy.Config
				if err := caddy.StrictUnmarshalJSON(caddy.RemoveMetaFields(text), &parsed); err != nil {
					return fmt.Errorf("%s: %w", source, err)
				}
				if err := caddy.Validate(parsed); err != nil {
					return fmt.Errorf("%s: %w", source, err)
				}
				c.done("%s is valid", source)
				return nil
			})
		},
	}
	configFlags(cmd, &config, &adapter)
	return cmd
}
