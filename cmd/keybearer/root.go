package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const (
	groupServe  = "serve"
	groupManage = "manage"
	groupLook   = "look"
	groupCaddy  = "caddy"
)

// rootCommand builds the whole tree of commands anew.
func (c *cli) rootCommand() *cobra.Command {
	cobra.EnableCommandSorting = false // the order below is that of a life: create, list, show, …
	root := &cobra.Command{
		Use:   "keybearer",
		Short: "Carries the keys so that apps need not",
		Long: `Keybearer is an outbound proxy that carries the keys so that apps need not: an app sends a plain HTTP request
through it and names a credential; Keybearer checks that this app may use it for this destination, writes
the Authorization header, and sends the request over verified TLS.

The commands below talk to a running server over the socket admin.sock in KEYBEARER_HOME (default: keybearer
in the user's data directory, or else, where that was never made, the service's in /var/lib/keybearer).
KEYBEARER_ADDR and KEYBEARER_TOKEN_FILE name another one.

Data goes to standard output, everything else to standard error. Exit codes: 0 ok, 1 failed, 2 usage,
3 not found, 4 refused, 5 conflict, 6 unreachable.`,
		Example: `  keybearer scope create docs
  keybearer scope generate-key docs
  printf 's3cret' | keybearer credential create docs/crm --kind bearer --domain api.example.com
  keybearer caller create billing --scope docs
  keybearer grant add docs/crm app:billing use
  keybearer check --caller app:billing docs/crm POST https://api.example.com/hook`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE:              nounHelp,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if f := cmd.Flags().Lookup("output"); f != nil && f.Value.Type() == "format" {
				c.formatAsked = f.Changed
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%s", err) })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { c.writeHelp(cmd) })
	root.SetHelpCommand(c.helpCommand())
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Start:"},
		&cobra.Group{ID: groupManage, Title: "Manage:"},
		&cobra.Group{ID: groupLook, Title: "Look and check:"},
		&cobra.Group{ID: groupCaddy, Title: "Configuration and tools:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(groupServe, c.runCommand(), c.demoCommand())
	add(groupManage, c.scopeCommand(), c.credentialCommand(), c.grantCommand(), c.domainCommand(), c.callerCommand(), c.operatorCommand(),
		c.exportCommand(), c.applyCommand(), c.migrateCommand(), c.backupCommand(), c.anchorCommand())
	add(groupLook, c.checkCommand(), c.usageCommand(), c.attentionCommand(), c.auditCommand(), c.whoamiCommand(), c.healthCommand(), c.doctorCommand())
	add(groupCaddy, c.validateCommand())
	add(groupCaddy, c.caddyCommands()...)
	add(groupCaddy, c.completionCommand(), c.manpageCommand(), c.versionCommand())
	tidy(root)
	return root
}

func (c *cli) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "help [command]",
		Short:  "Show the help of a command",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no command %q", strings.Join(args, " "))
			}
			return about.Help()
		},
	}
}

// nounHelp is what a command does that has verbs: without one it shows its help, with a wrong one it says so.
func nounHelp(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := usagef("%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return err.withHint("did you mean " + strings.Join(near, " or ") + "?")
	}
	return err
}

// noun makes a command that only has verbs.
func noun(name, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: nounHelp}
	cmd.AddCommand(verbs...)
	return cmd
}

// tidy sets what is the same for every command.
func tidy(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.InitDefaultHelpFlag()
	if f := cmd.Flags().Lookup("help"); f != nil {
		f.Usage = "show this help"
	}
	if cmd.ValidArgsFunction == nil && cmd.ValidArgs == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		tidy(sub)
	}
}

// need admits exactly the arguments named; a last one that ends in "..." may be repeated.
func need(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " and "))
		}
		if len(names) > 0 && strings.HasSuffix(names[len(names)-1], "...") {
			return nil
		}
		return tooMany(cmd, args, len(names))
	}
}

// optional admits one argument or none.
func optional(string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return tooMany(cmd, args, 1) }
}

func tooMany(cmd *cobra.Command, args []string, most int) error {
	if len(args) > most {
		return usagef("%s takes no argument %q", cmd.CommandPath(), args[most])
	}
	return nil
}

func (c *cli) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Write the completion script of a shell",
		Long: `Write the script that completes commands, flags, and the names of scopes, credentials and callers, which it asks the
running server for. To have it now, in bash:

  source <(keybearer completion bash)

To keep it, write it where the shell looks: /etc/bash_completion.d/keybearer for bash, a file _keybearer in a directory of
$fpath for zsh, ~/.config/fish/completions/keybearer.fish for fish.`,
		Example:   "  keybearer completion bash > keybearer.bash\n  keybearer completion zsh > _keybearer",
		Args:      need("bash|zsh|fish|powershell"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(c.out, true)
			case "zsh":
				return root.GenZshCompletion(c.out)
			case "fish":
				return root.GenFishCompletion(c.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(c.out)
			}
			return usagef("there is no completion for %s", args[0]).withHint(fmt.Sprintf("use one of %s", strings.Join(shells, ", ")))
		},
	}
}
