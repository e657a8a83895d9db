package keybearer

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits bound what one caller may ask of each node. A zero field is the instance's own setting, [Unlimited] is no limit. Limits are
// comparable.
type Limits struct {
	Rate        float64 `json:"rate,omitempty"`        // requests a second
	Burst       int     `json:"burst,omitempty"`       // so many at once after a pause; zero beside a rate: as many as come in a second
	Concurrency int     `json:"concurrency,omitempty"` // requests under way at a time; a stream is one as long as it lasts
}

// Unlimited stands for no limit, in any field of Limits.
const Unlimited = -1

// Bounds of limits: a rate is at least one in an hour.
const (
	minRate  = 1.0 / 3600
	maxLimit = 1_000_000
)

// Over returns l with the fields of the instance's own setting where it has none. A rate comes with its own burst.
func (l Limits) Over(instance Limits) Limits {
	if l.Rate == 0 {
		l.Rate = instance.Rate
		if l.Burst == 0 {
			l.Burst = instance.Burst
		}
	}
	if l.Burst == 0 && l.Rate > 0 {
		l.Burst = max(1, int(math.Ceil(l.Rate)))
	}
	if l.Concurrency == 0 {
		l.Concurrency = instance.Concurrency
	}
	return l
}

// Check returns [Invalid] for limits that nobody can have meant.
func (l Limits) Check() error {
	within := func(n int) bool { return n == Unlimited || n >= 0 && n <= maxLimit }
	switch {
	case !(l.Rate == Unlimited || l.Rate == 0 || l.Rate >= minRate && l.Rate <= maxLimit):
		return NewError(Invalid, "a rate is from one request an hour to a million a second").WithHint("write 100/s, 30/m or 10/h; to refuse every request, disable the caller")
	case !within(l.Burst) || l.Burst == Unlimited:
		return NewError(Invalid, "a burst is from 1 to a million requests").WithHint("leave it out for as many as come in a second")
	case !within(l.Concurrency):
		return NewError(Invalid, "a concurrency is from 1 to a million requests").WithHint("to refuse every request, disable the caller")
	}
	return nil
}

var rateUnits = [...]struct {
	name string
	time time.Duration
}{{"/s", time.Second}, {"/m", time.Minute}, {"/h", time.Hour}}

// ParseRate reads "100/s", "30/m", "10/h", or a number alone, which is for each second. It returns requests a second, and [Invalid]
// for anything else; whether the rate is within bounds is for Check to say.
func ParseRate(text string) (float64, error) {
	number, per := text, time.Second
	for _, u := range rateUnits {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, per = n, u.time
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "0123456789.") != "" || v <= 0 || math.IsInf(v, 0) {
		return 0, NewError(Invalid, "a rate is a number of requests in a second, a minute or an hour").WithHint("write 100/s, 30/m or 10/h")
	}
	return v / per.Seconds(), nil
}

// RateText is the text of a rate, in the shortest unit in which it is a whole number, or else to three places.
func RateText(rate float64) string {
	for _, u := range rateUnits {
		n := rate * u.time.Seconds()
		if whole := math.Round(n); whole >= 1 && math.Abs(n-whole) < 1e-9*whole {
			return strconv.FormatFloat(whole, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(rate, 'g', 3, 64) + "/s"
}

// Words says in which ways a caller's limits are not the instance's; "" for none.
func (l Limits) Words() string {
	var parts []string
	switch {
	case l.Rate > 0:
		parts = append(parts, RateText(l.Rate))
	case l.Rate < 0:
		parts = append(parts, "any rate")
	}
	if l.Burst > 0 {
		parts = append(parts, "bursts of "+strconv.Itoa(l.Burst))
	}
	switch {
	case l.Concurrency > 0:
		parts = append(parts, strconv.Itoa(l.Concurrency)+" under way")
	case l.Concurrency < 0:
		parts = append(parts, "any number under way")
	}
	return strings.Join(parts, ", ")
}
