package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keybearer/keybearer"
)

// limitFlags are the limits of a caller as the command line gives them: what is not given stays.
type limitFlags struct{ rate, burst, concurrency string }

const (
	ofInstance = "default" // the instance's own setting
	noLimit    = "none"
)

func (l *limitFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.rate, "rate", "", "requests it may send, as in 100/s, 30/m or 10/h; none: no limit; default: the instance's `rate`")
	f.StringVar(&l.burst, "burst", "", "requests it may send at once after a pause; default: as many as in a second, or the instance's `number`")
	f.StringVar(&l.concurrency, "concurrency", "", "requests it may have under way at a time; none: no limit; default: the instance's `number`")
}

func (l *limitFlags) given() bool { return l.rate != "" || l.burst != "" || l.concurrency != "" }

// over returns the limits with what was given in the place of what there is.
func (l *limitFlags) over(have keybearer.Limits) (keybearer.Limits, error) {
	switch l.rate {
	case "":
	case ofInstance:
		have.Rate = 0
	case noLimit:
		have.Rate = keybearer.Unlimited
	default:
		rate, err := keybearer.ParseRate(l.rate)
		if err != nil {
			return have, usagef("--rate wants a rate").withHint("write 100/s, 30/m or 10/h, none for no limit, or default for the instance's")
		}
		have.Rate = rate
	}
	number := func(flag, text string, none bool, into *int) error {
		n, err := strconv.Atoi(text)
		switch {
		case text == "":
		case text == ofInstance:
			*into = 0
		case text == noLimit && none:
			*into = keybearer.Unlimited
		case err != nil || n < 1:
			return usagef("--%s wants a number from 1 on", flag).withHint("write default for the instance's")
		default:
			*into = n
		}
		return nil
	}
	if err := number("burst", l.burst, false, &have.Burst); err != nil {
		return have, err
	}
	return have, number("concurrency", l.concurrency, true, &have.Concurrency)
}
