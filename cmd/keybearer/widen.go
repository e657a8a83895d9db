package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// secretFlags are the flags of every command that takes a secret.
type secretFlags struct {
	file       string
	keepBlanks bool
}

func (s *secretFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "secret-file", "", "read the secret from this `file`; - is standard input")
	cmd.Flags().BoolVar(&s.keepBlanks, "keep-blanks", false, "blanks at the secret's beginning or end are meant")
}

// read takes the secret as the API wants it.
func (s *secretFlags) read(c *cli, kind keybearer.Kind) (admin.SecretInput, error) {
	in, err := c.readSecret(kind, s.file)
	if err != nil {
		return admin.SecretInput{}, err
	}
	return admin.SecretInput{
		Username:   admin.NewPlaintext(in.Username),
		Secret:     admin.Plaintext{Secret: in.Secret},
		KeepBlanks: s.keepBlanks,
	}, nil
}

// withSecretIfNeeded makes a change that may widen what the secret is used for: without the secret first unless a file is named, and with it when
// the server asks for it.
func (s *secretFlags) withSecretIfNeeded(ctx context.Context, c *cli, client *admin.Client, ref keybearer.Ref, kind keybearer.Kind,
	change func(context.Context, admin.SecretInput) (admin.Credential, error),
) (admin.Credential, error) {
	if s.file == "" {
		made, err := change(ctx, admin.SecretInput{})
		if keybearer.CodeOf(err) != keybearer.SecretRequired {
			return made, err
		}
		if isTerminal(c.in) {
			c.note("this widens where the secret may go, so it has to be given again")
		}
	}
	if kind == "" {
		now, err := client.Credential(ctx, ref)
		if err != nil {
			return now, err
		}
		kind = now.Kind
		ctx = admin.IfRevision(ctx, now.Revision)
	}
	in, err := s.read(c, kind)
	if err != nil {
		return admin.Credential{}, widening(err)
	}
	return change(ctx, in)
}

// widening says why a secret was wanted at all, when none was given.
func widening(err error) error {
	if e := keybearer.AsError(err); e.Code == keybearer.SecretInvalid && e.Hint == secretHint {
		return &keybearer.Error{Code: keybearer.SecretRequired, Hint: secretHint}
	}
	return err
}
