package console

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/signin"
)

// visit is one request of a browser.
type visit struct {
	*console
	w      http.ResponseWriter
	r      *http.Request
	id     string
	person *signin.Person // nil: nobody is signed in
	shown  bool
}

// identify finds out who is signed in.
func (v *visit) identify() (err error) {
	v.person, err = v.SignIn.Person(v.r.Context())
	return err
}

// ask is the asking for an operation, for the revision that the form was made from.
func (v *visit) ask() custody.Ask {
	a := custody.Ask{Actor: v.person.Actor, ID: v.id}
	if v.r.Method == http.MethodPost && v.r.PostFormValue("revision") != "" {
		if a.Revision, _ = strconv.ParseUint(v.r.PostFormValue("revision"), 10, 63); a.Revision == 0 {
			a.Revision = math.MaxInt64 // what we never gave is no record's
		}
	}
	return a
}

// run answers the request, whatever fn does.
func (v *visit) run(fn func(*visit) error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
			panic(p)
		} else if p != nil {
			v.Logger.Error("console request failed", "request_id", v.id, "stack", string(debug.Stack()))
			v.fail(keybearer.NewError(keybearer.Internal, ""))
		}
	}()
	if v.r.Method == http.MethodPost {
		if err := v.r.ParseForm(); err != nil {
			detail := "the form cannot be read"
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				detail = "the form is larger than 512 KiB"
			}
			v.fail(keybearer.NewError(keybearer.Invalid, detail))
			return
		}
	}
	if err := fn(v); err != nil {
		v.fail(err)
	}
}

// fail shows the error as a page. Who is not signed in is asked to, and comes back after it.
func (v *visit) fail(err error) {
	if v.shown {
		return
	}
	e := keybearer.AsError(err)
	if e.Code == keybearer.Unauthenticated && v.person == nil {
		to := "/sign-in"
		if page := v.page(); page != "/" {
			to += "?next=" + url.QueryEscape(page)
		}
		if v.partial() {
			v.w.Header().Set("HX-Redirect", to)
			v.w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = v.redirect(to)
		return
	}
	info := e.Code.Info()
	if info.Status >= 500 {
		v.Logger.Error("console request failed", "request_id", v.id, "code", info.Code, "error", err)
	}
	if info.Retry {
		v.w.Header().Set("Retry-After", strconv.Itoa(max(5, int(e.RetryAfter/time.Second))))
	}
	_ = v.showStatus(info.Status, "error", "Not done", problem(e, v.id))
}

// page is the address of the page in the browser's window: the one asked for, or the one that sends a form or has htmx ask.
func (v *visit) page() string {
	in := v.r.URL
	if from := v.r.Header.Get("HX-Current-URL"); v.partial() {
		in, _ = url.Parse(from)
	} else if v.r.Method != http.MethodGet {
		in, _ = url.Parse(v.r.Referer())
	}
	if in == nil || in.Path == "" {
		return "/"
	}
	return in.RequestURI()
}

// Problem is an error as pages show it.
type Problem struct {
	Code      keybearer.Code
	Status    int
	Title     string
	Detail    string
	Hint      string
	Field     string   // of a form, that it concerns
	Wrong     []Option // fields and what is wrong with them, where there are several
	RequestID string   // "" when custody was not asked
}

func problem(err error, id string) *Problem {
	e := keybearer.AsError(err)
	info := e.Code.Info()
	return &Problem{
		Code: info.Code, Status: info.Status, Title: sentence(info.Title), Detail: sentence(e.Message()), Hint: sentence(e.Advice()),
		Field: e.Field, RequestID: id,
	}
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.ContainsAny(s[len(s)-1:], ".?!") {
		return s
	}
	return s + "."
}

// partial reports whether htmx asks, for a part of a page.
func (v *visit) partial() bool { return v.r.Header.Get("HX-Request") == "true" }

// redirect sends the browser to another page of the console, with GET.
func (v *visit) redirect(to string) error {
	v.shown = true
	if v.partial() {
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// done leaves a message for the next page and goes there.
func (v *visit) done(text, to string) error {
	v.SignIn.Say(v.r.Context(), signin.Toast{Tone: "good", Text: text})
	return v.redirect(to)
}
