package console

import (
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
)

// limits reads the fields rate, burst and concurrency. Empty is the instance's own setting, "none" no limit.
func (f *form) limits() (l keybearer.Limits, err error) {
	switch text := strings.TrimSpace(f.Get("rate")); text {
	case "":
	case "none":
		l.Rate = keybearer.Unlimited
	default:
		if l.Rate, err = keybearer.ParseRate(text); err != nil {
			return l, keybearer.AsError(err).In("rate")
		}
	}
	whole := func(name string, none bool, into *int) error {
		switch text := strings.TrimSpace(f.Get(name)); {
		case text == "":
		case text == "none" && none:
			*into = keybearer.Unlimited
		default:
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return keybearer.NewError(keybearer.Invalid, "this is a whole number from 1 on").WithHint("leave it empty for the instance's own").In(name)
			}
			*into = n
		}
		return nil
	}
	if err := whole("burst", false, &l.Burst); err != nil {
		return l, err
	}
	if err := whole("concurrency", true, &l.Concurrency); err != nil {
		return l, err
	}
	for name, one := range map[string]keybearer.Limits{"rate": {Rate: l.Rate}, "burst": {Burst: l.Burst}, "concurrency": {Concurrency: l.Concurrency}} {
		if err := one.Check(); err != nil {
			return l, keybearer.AsError(err).In(name)
		}
	}
	return l, nil
}

// limitFields are limits as the form has them.
func limitFields(l keybearer.Limits) (rate, burst, concurrency string) {
	switch {
	case l.Rate > 0:
		rate = keybearer.RateText(l.Rate)
	case l.Rate < 0:
		rate = "none"
	}
	whole := func(n int) string {
		switch {
		case n > 0:
			return strconv.Itoa(n)
		case n < 0:
			return "none"
		}
		return ""
	}
	return rate, whole(l.Burst), whole(l.Concurrency)
}
