package console

import (
	"cmp"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/signin"
)

// keep is blame for a form that changes a record, which has this revision now. When somebody else changed it meanwhile, what was typed stays, and
// sending the form again changes the record as it is now.
func (f *form) keep(err error, id string, revision uint64) bool {
	if !f.blame(err, id) {
		return false
	}
	if f.Problem.Code == keybearer.Stale {
		f.Revision = revision
		f.Problem.Detail = "Somebody else changed it since you opened this page, so nothing was saved."
		f.Problem.Hint = "What you typed is still here, and beside it what is there now. Save again to put yours in its place."
	}
	return true
}

// differs says beside a field what is there now, where a stale form would change that.
func (f *form) differs(name, now string) {
	if f.Problem == nil || f.Problem.Code != keybearer.Stale || f.Get(name) == now {
		return
	}
	f.thereIs(name, cmp.Or(now, "nothing"))
}

func (f *form) thereIs(name, now string) {
	f.Errors[name] = "There is now: " + now
	f.Problem.Wrong = append(f.Problem.Wrong, Option{Value: name, Text: f.Errors[name]})
}

// differ is differs for a field of several values.
func (f *form) differ(name string, now []string) {
	have := slices.Sorted(slices.Values(f.Values[name]))
	if f.Problem == nil || f.Problem.Code != keybearer.Stale || slices.Equal(have, slices.Sorted(slices.Values(now))) {
		return
	}
	f.thereIs(name, cmp.Or(strings.Join(now, ", "), "none"))
}

// complain leaves a message of what was not done for the next page.
func (v *visit) complain(text string) {
	v.SignIn.Say(v.r.Context(), signin.Toast{Tone: "bad", Text: text})
}
