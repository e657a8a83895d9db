package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

func (c *cli) credentialTest() *cobra.Command {
	var r admin.TestRequest
	cmd := &cobra.Command{
		Use:   "test <scope>/<name> <url>",
		Short: "Send one real request with it, as an app",
		Long: `Send one real request, without a body, with the credential as an app, through the proxy. It is judged, limited and counted as the app's own; the audit
log names you beside the app. Shown are the status and the names of the fields that came back, never a value or the body. The exit code is 0 when
the destination answered, whatever it said, 4 when the request was refused, and that of the code for everything else.

It takes administer on the credential. "keybearer check" tells whether a request would be allowed, and sends nothing.`,
		Example: `  keybearer credential test docs/crm --caller app:billing https://api.example.com/v1/me
  keybearer credential test docs/crm --caller app:billing --method HEAD https://api.example.com/ -o json`,
		Args:              need("<scope>/<name>", "a URL"),
		ValidArgsFunction: c.complete(credentialNames),
	}
	cmd.Flags().StringVar(&r.Caller, "caller", "", "the `app` that it is sent as, as in app:billing")
	cmd.Flags().StringVar(&r.Method, "method", "GET", "the `method`: "+strings.Join(custody.TestMethods, ", "))
	_ = cmd.MarkFlagRequired("caller")
	_ = cmd.RegisterFlagCompletionFunc("caller", c.completeFlag(appNames))
	_ = cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions(custody.TestMethods, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = c.onCredential(func(ctx context.Context, client *admin.Client, ref keybearer.Ref, args []string) error {
		var ok bool
		if r.Caller, ok = bare(r.Caller, "app"); !ok {
			return usagef("--caller wants app:<name>")
		}
		r.URL = args[0]
		result, err := client.TestCredential(ctx, ref, r)
		if err != nil {
			return err
		}
		if err := printItem(c, result, strconv.Itoa(result.Status), testFields(result)); err != nil {
			return err
		}
		if result.Code != "" {
			return &keybearer.Error{Code: result.Code, Detail: result.Detail, Hint: result.Hint}
		}
		return nil
	})
	return cmd
}

func testFields(r admin.TestResult) []field {
	status, body := good(strconv.Itoa(r.Status)), strconv.FormatInt(r.Bytes, 10)+" bytes"
	if r.Status >= 400 {
		status = odd(strconv.Itoa(r.Status))
	}
	if r.Cut {
		body = "the first " + body
	}
	answer := good("the destination answered")
	if r.Code != "" {
		answer, status.paint = bad("refused ("+string(r.Code)+")"), nil
	}
	var names []cell
	for _, name := range r.Fields {
		names = append(names, plain(name))
	}
	return []field{
		row("answer", answer),
		row("status", status),
		row("took", plainf("%d ms", r.DurationMS)),
		row("body", plain(body)),
		row("fields", names...),
		row("request", plain(r.RequestID)),
	}
}
