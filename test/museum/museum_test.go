// Package museum replays, against Keybearer, the attacks by which programs like it, or the libraries that such are made of, lost secrets
// or reached what they should not: one exhibit for each CVE, advisory or issue. What is about the wire goes through the real
// binary; what is about reading a text through the package that reads it.
//
// It also writes docs/security.md, from these exhibits and from the tests that answer each threat; see page_test.go.
package museum

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// exhibit is one attack from elsewhere.
type exhibit struct {
	id    string // as its authority writes it
	there string // what happened there
	here  string // what is done here
	shows func(h *hall)
}

// rooms are all exhibits, by the part of the threats that they belong to.
func rooms() []exhibit {
	return slices.Concat(destinations, messages, framing, answers, redirects, secrets, callers, floods, outages)
}

const fewest = 60

func TestMuseum(t *testing.T) {
	form := regexp.MustCompile(`^(CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}|[\w./-]+#\d+|Capital One 2019)$`)
	seen := map[string]bool{}
	h := openHall(t)
	all := rooms()
	for _, e := range all {
		t.Run(e.id, func(t *testing.T) {
			if !form.MatchString(e.id) || seen[e.id] || e.there == "" || e.here == "" || strings.ContainsAny(e.there+e.here, "|\n") {
				t.Fatalf("not an exhibit: %+v", e)
			}
			seen[e.id] = true
			e.shows(h.with(t))
		})
	}
	if len(all) < fewest {
		t.Errorf("%d exhibits", len(all))
	}
	t.Attr("cases", strconv.Itoa(len(all)))
}
