package caddymodule

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
)

// Limits say what callers may ask of this node, and how much of it one destination may take up. Absent fields mean the defaults.
type Limits struct {
	// Requests a second of a caller that has no rate of its own; 0: no limit. Default: no limit.
	CallerRate float64 `json:"caller_rate,omitempty"`

	// How many requests may come at once after a pause. Default: as many as in a second.
	CallerBurst int `json:"caller_burst,omitempty"`

	// Requests that a caller may have under way at a time; 0: no limit. Default: 10000.
	CallerConcurrency *int `json:"caller_concurrency,omitempty"`

	// Requests that may be under way at a time to one host and port with the credentials of one scope; 0: no limit. Default: 8000.
	DestinationConcurrency *int `json:"destination_concurrency,omitempty"`
}

// caller returns the limits of callers that have none of their own, as the parts take them.
func (l *Limits) caller() keybearer.Limits {
	return keybearer.Limits{
		Rate: cmp.Or(l.CallerRate, keybearer.Unlimited), Burst: l.CallerBurst, Concurrency: count(l.CallerConcurrency),
	}
}

// count returns a configured number in the form that the parts take: 0 is their default, negative is none.
func count(n *int) int {
	switch {
	case n == nil:
		return 0
	case *n == 0:
		return keybearer.Unlimited
	}
	return *n
}

// check refuses what the Caddyfile would, for a configuration in JSON.
func (l *Limits) check() error {
	if l.CallerBurst != 0 && l.CallerRate == 0 {
		return fmt.Errorf("limits: caller_burst is part of caller_rate: add caller_rate")
	}
	for _, n := range []*int{l.CallerConcurrency, l.DestinationConcurrency} {
		if n != nil && *n < 0 {
			return fmt.Errorf("limits: a concurrency is a number of requests, or 0 for no limit")
		}
	}
	if l.CallerRate < 0 {
		return fmt.Errorf("limits: caller_rate is a rate such as 100/s, or 0 for no limit")
	}
	for _, x := range []keybearer.Limits{l.caller(), {Concurrency: count(l.DestinationConcurrency)}} {
		if err := x.Check(); err != nil {
			return fmt.Errorf("limits: %w", explain(err))
		}
	}
	return nil
}

func (l *Limits) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: limits takes a block", d.Val())
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is written twice: keep one", option)
		}
		seen[option] = true
		var err error
		switch option {
		case "caller_rate":
			err = l.rate(d)
		case "caller_concurrency":
			l.CallerConcurrency, err = number(d)
		case "destination_concurrency":
			l.DestinationConcurrency, err = number(d)
		default:
			return d.Errf("unknown limit %q: limits takes caller_rate, caller_concurrency and destination_concurrency", option)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rate parses "<rate> [<burst>]"; 0 alone is no limit.
func (l *Limits) rate(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	const want = "caller_rate needs a rate such as 100/s, 30/m or 10/h, and may have a burst behind it"
	if len(args) == 0 || len(args) > 2 {
		return d.Err(want)
	}
	if args[0] == "0" && len(args) == 1 {
		return nil
	}
	if l.CallerRate, err = keybearer.ParseRate(args[0]); err != nil {
		return d.Errf(want+"; %q is none", args[0])
	}
	if len(args) == 2 {
		if l.CallerBurst, err = strconv.Atoi(args[1]); err != nil || l.CallerBurst < 1 {
			return d.Errf("the burst is a number of requests from 1 on, not %q", args[1])
		}
	}
	return nil
}

// number parses one number of requests.
func number(d *caddyfile.Dispenser) (*int, error) {
	option := d.Val()
	text, err := argument(d, "a number of requests, or 0 for no limit")
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, d.Errf("%s needs a number of requests, or 0 for no limit, not %q", option, text)
	}
	return &n, nil
}
