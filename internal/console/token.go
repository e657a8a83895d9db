package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// holder is who holds tokens, as the pages about tokens name it.
type holder struct {
	Kind string // "caller" or "operator"
	Name string
	Self bool // it is the person who looks
}

// Path is the address of its page.
func (h holder) Path() string { return "/" + h.Kind + "s/" + url.PathEscape(h.Name) }

// tokenRow is a token in a table.
type tokenRow struct {
	custody.Token
	Badge badge
	Note  string // whether an older one is still needed; "": nothing to say
}

// tokenRows shows tokens, newest first. What older ones were last used for, compared with when the newest was made, says whether the app has moved
// to that.
func tokenRows(now time.Time, tokens []custody.Token, counted bool) (rows []tokenRow) {
	var newest *custody.Token
	for i := len(tokens) - 1; i >= 0; i-- { // they are kept in the order in which they were made
		t := tokenRow{Token: tokens[i], Badge: badge{"good", "good"}}
		switch {
		case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
			t.Badge = badge{"quiet", "ended"}
		case newest == nil:
			newest = &tokens[i]
		case !t.ExpiresAt.IsZero():
			t.Badge = badge{"warn", "ending"}
			fallthrough
		default:
			switch {
			case !counted:
			case t.LastUsedAt.After(newest.CreatedAt):
				t.Note = "still in use"
			default:
				t.Note = "not used since the newest was made"
			}
		}
		rows = append(rows, t)
	}
	return rows
}

// overlaps are the answers to how long older tokens stay good.
var overlaps = []Option{
	{"24h", "24 hours", "Time to give the app the new one."},
	{"168h", "7 days", ""},
	{"0s", "Not at all", "Whoever presents an older one is refused from the next request on."},
	{"keep", "Until they are revoked or end by themselves", ""},
}

// newTokenPage is the form that makes one more token.
type newTokenPage struct {
	holder
	Form     *form
	Nonce    string
	Older    int // tokens that are good
	Overlaps []Option
}

func (v *visit) newTokenForm(status int, h holder, tokens []custody.Token, f *form) error {
	data := newTokenPage{holder: h, Form: f, Nonce: nonce(), Overlaps: overlaps}
	for _, t := range tokens {
		if t.ExpiresAt.IsZero() || v.Now().Before(t.ExpiresAt) {
			data.Older++
		}
	}
	return v.showStatus(status, "token-new", "New token for "+h.Name, data)
}

// tokenTerms reads when the new token ends and how long older ones stay good; nil: until they are revoked.
func (f *form) tokenTerms() (expires time.Time, overlap *time.Duration, err error) {
	if expires, err = f.endOfDay("expires"); err != nil {
		return expires, nil, err
	}
	text := f.Get("overlap")
	if text == "keep" || text == "" {
		return expires, nil, nil
	}
	for _, o := range overlaps {
		if o.Value == text {
			d, err := time.ParseDuration(text)
			return expires, &d, err
		}
	}
	return expires, nil, keybearer.NewError(keybearer.Invalid, "choose how long older tokens stay good").In("overlap")
}

// endOfDay reads a day, at whose end, in UTC, something ends; zero for none.
func (f *form) endOfDay(name string) (time.Time, error) {
	text := strings.TrimSpace(f.Get(name))
	if text == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, keybearer.NewError(keybearer.Invalid, "this is not a day").WithHint("write it as 2027-01-31").In(name)
	}
	return day.AddDate(0, 0, 1), nil
}

// nonce is a new one for a form that must be sent once only.
func nonce() string { return keybearer.NewID("form_") }

// once runs do, which makes a token, unless the form was sent before. When nothing comes of it the form may be sent again.
func (v *visit) once(f *form, do func() error) error {
	sent := f.Get("nonce")
	if !v.SignIn.First(v.person, sent) {
		return keybearer.NewError(keybearer.Conflict, "this form was sent already, and whatever token it made was shown then").
			WithHint("a token is shown once; if you did not copy it, revoke it and make another")
	}
	err := do()
	if err != nil {
		v.SignIn.Forget(v.person, sent)
	}
	return err
}

// madeToken shows a new token: this once, in the answer to the form that made it. It is the one place where a page holds one.
type madeToken struct {
	holder
	Text             string
	Expires          time.Time
	Older            []tokenRow
	Proxy            string // address of a listener for apps; "": not known
	Ref              string // a credential to name in examples
	Known            bool   // the app may use it
	Scheme, Host, At string // a destination; At is its path
	Scopes           []string
}

// UserInfo is the credential's name as the user part of a proxy URL has it.
func (m *madeToken) UserInfo() string { return strings.ReplaceAll(m.Ref, "/", "%2F") }

func (v *visit) showToken(h holder, token keybearer.Secret, tokens []custody.Token, m madeToken) error {
	m.holder, m.Text = h, token.Reveal()
	rows := tokenRows(v.Now(), tokens, false)
	if len(rows) > 0 {
		m.Expires, m.Older = rows[0].ExpiresAt, rows[1:]
	}
	return v.showStatus(http.StatusCreated, "token-made", "Token of "+h.Name, m)
}

// revokePage asks whether a token, or all of them, are to be revoked.
type revokePage struct {
	holder
	Token *tokenRow // nil: all
	Rows  []tokenRow
	Form  *form
}

func (v *visit) revokeForm(h holder, rows []tokenRow, revision uint64) error {
	data := revokePage{holder: h, Rows: rows, Form: &form{Revision: revision}}
	if id := v.r.URL.Query().Get("id"); id != "" {
		for i := range rows {
			if rows[i].ID == id {
				data.Token = &rows[i]
			}
		}
		if data.Token == nil {
			return keybearer.NewError(keybearer.NotFound, "there is no token with that id")
		}
	}
	return v.show("token-revoke", "Revoke", data)
}

// revoked says what was revoked.
func revoked(id string) string {
	if id == "" {
		return "Revoked every token of "
	}
	return "Revoked a token of "
}
