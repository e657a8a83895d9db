package manifest

import (
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/keybearer/keybearer"
)

// LimitsEntry is the limits of one caller of a document; what is left out is the instance's.
type LimitsEntry struct {
	Rate        string `json:"rate,omitempty"`  // "100/s", or "none"
	Burst       string `json:"burst,omitempty"` // a number, as text
	Concurrency string `json:"concurrency,omitempty"`
}

const noLimit = "none"

func limitsEntry(l keybearer.Limits) (e LimitsEntry) {
	number := func(n int) string {
		switch {
		case n == 0:
			return ""
		case n < 0:
			return noLimit
		}
		return strconv.Itoa(n)
	}
	switch {
	case l.Rate > 0:
		e.Rate = exactRate(l.Rate)
	case l.Rate < 0:
		e.Rate = noLimit
	}
	e.Burst, e.Concurrency = number(l.Burst), number(l.Concurrency)
	return e
}

// exactRate is a text that is read back as the same rate.
func exactRate(rate float64) string {
	text := keybearer.RateText(rate)
	if again, err := keybearer.ParseRate(text); err == nil && again == rate {
		return text
	}
	return strconv.FormatFloat(rate, 'f', -1, 64) + "/s"
}

// limits reads the limits of a caller. Numbers may stand in quotes or not.
func (s *source) limits(n *yaml.Node) (l keybearer.Limits) {
	number := func(name string, into *int) field {
		return field{name, func(n *yaml.Node) {
			v, err := strconv.Atoi(n.Value)
			switch {
			case n.Kind == yaml.ScalarNode && n.Value == noLimit && name != "burst":
				*into = keybearer.Unlimited
			case n.Kind != yaml.ScalarNode || err != nil || v < 1:
				s.bad(n, "%s is a number of requests from 1 on; leave it out for the instance's", name)
			default:
				*into = v
			}
		}}
	}
	s.fields(n, "limits",
		field{"rate", func(n *yaml.Node) {
			rate, err := keybearer.ParseRate(n.Value)
			switch {
			case n.Kind == yaml.ScalarNode && n.Value == noLimit:
				l.Rate = keybearer.Unlimited
			case n.Kind != yaml.ScalarNode || err != nil:
				s.bad(n, "rate is 100/s, 30/m, 10/h or none; leave it out for the instance's")
			default:
				l.Rate = rate
			}
		}},
		number("burst", &l.Burst),
		number("concurrency", &l.Concurrency),
	)
	if err := l.Check(); err != nil {
		s.bad(n, "%s", said(err))
	}
	return l
}
