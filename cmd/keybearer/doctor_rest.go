package main

import (
	"context"
	"fmt"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/caddymodule"
)

// rest looks at what the configuration leads to, without a server.
func (d *doctor) rest(ctx context.Context, config, adapter string) {
	at, err := d.c.atRest(config, adapter)
	if err != nil {
		d.fail("configuration", &keybearer.Error{Code: keybearer.Invalid, Detail: err.Error(), Hint: "keybearer validate tells the same"})
		return
	}
	for _, f := range at.Inspect(ctx) {
		switch {
		case f.Err == nil:
			d.ok(f.Check, "%s", f.Detail)
		case f.Warn:
			d.warn(f.Check, f.Err.Advice(), "%s", f.Detail)
		default:
			d.fail(f.Check, f.Err)
		}
	}
}

// atRest reads the configuration as "keybearer run" does, for looking at what it leads to.
func (c *cli) atRest(config, adapter string) (at *caddymodule.Rest, err error) {
	err = c.caddyVoice(func() error {
		text, source, _, err := loadConfig(config, adapter)
		if err != nil {
			return err
		}
		if at, err = caddymodule.AtRest(text); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		return nil
	})
	return at, err
}
