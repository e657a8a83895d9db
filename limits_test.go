package keybearer_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

func TestARateIsWrittenForASecondAMinuteOrAnHour(t *testing.T) {
	for text, want := range map[string]float64{"100/s": 100, "100": 100, "30/m": 0.5, "10/h": 10.0 / 3600, "2.5/s": 2.5, "3600/h": 1} {
		got, err := keybearer.ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0/s", "-1/s", "/s", "100/d", "100 /s", "1e3/s", "NaN", "Inf/s", "0x10/s", "100/s/s", "1.2.3"} {
		if v, err := keybearer.ParseRate(text); keybearer.CodeOf(err) != keybearer.Invalid {
			t.Errorf("%q was read as %v: %v", text, v, err)
		}
	}
	for rate, want := range map[float64]string{100: "100/s", 0.5: "30/m", 1: "1/s", 10.0 / 3600: "10/h", 100.0 / 60: "100/m", 2.5: "150/m", math.Pi: "3.14/s"} {
		if got := keybearer.RateText(rate); got != want {
			t.Errorf("%v is written %s, want %s", rate, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := keybearer.RateText(float64(rapid.IntRange(1, 1_000_000).Draw(t, "requests")) / rapid.SampledFrom([]float64{1, 60, 3600}).Draw(t, "seconds"))
		rate, err := keybearer.ParseRate(text)
		if err != nil || keybearer.RateText(rate) != text {
			t.Fatalf("%s is read as %v: %v", text, rate, err)
		}
	})
}

func TestLimitsOfACallerStandOverThoseOfTheInstance(t *testing.T) {
	instance := keybearer.Limits{Rate: 100, Burst: 500, Concurrency: 10}
	for _, c := range []struct{ own, want keybearer.Limits }{
		{keybearer.Limits{}, instance},
		{keybearer.Limits{Rate: 7}, keybearer.Limits{Rate: 7, Burst: 7, Concurrency: 10}},
		{keybearer.Limits{Rate: 0.5}, keybearer.Limits{Rate: 0.5, Burst: 1, Concurrency: 10}},
		{keybearer.Limits{Burst: 3}, keybearer.Limits{Rate: 100, Burst: 3, Concurrency: 10}},
		{keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: keybearer.Unlimited}, keybearer.Limits{Rate: keybearer.Unlimited, Concurrency: keybearer.Unlimited}},
	} {
		if got := c.own.Over(instance); got != c.want {
			t.Errorf("%+v becomes %+v, want %+v", c.own, got, c.want)
		}
	}
}

func TestLimitsThatNobodyCanMeanAreRefused(t *testing.T) {
	for _, l := range []keybearer.Limits{
		{Rate: -2}, {Rate: math.NaN()}, {Rate: math.Inf(1)}, {Rate: 1e-9}, {Rate: 2e6}, {Burst: -1}, {Burst: 2_000_000}, {Concurrency: -2}, {Concurrency: 2_000_000},
	} {
		if err := l.Check(); keybearer.CodeOf(err) != keybearer.Invalid {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, l := range []keybearer.Limits{{}, {Rate: 0.5, Burst: 1, Concurrency: 1}, {Rate: keybearer.Unlimited, Concurrency: keybearer.Unlimited}} {
		if err := l.Check(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
