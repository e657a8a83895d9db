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

// All is the address of the list that holds it, and AllName its name.
func (h holder) All() string { return "/" + h.Kind + "s" }

// AllName is what the list is called.
func (h holder) AllName() string {
	if h.Kind == "caller" {
		return "Callers"
	}
	return "Operators"
}

// tokenRow is a token in a table.
type tokenRow struct {
	custody.Token
	Badge badge
	Used  bool // although there is a newer one, and since that was made
}

// tokenTable shows tokens, newest first. Where the last use is known, Advice says whether the app has moved to the newest.
type tokenTable struct {
	Rows   []tokenRow
	Advice string // "": nothing to say
	Uses   bool   // the last use is known, if there was any
	Path   string // of the page of whoever holds them
}

func tokensOf(now time.Time, h holder, tokens []custody.Token) tokenTable {
	table := tokenTable{Uses: h.Kind == "caller", Path: h.Path()}
	var newest *custody.Token
	older, used := 0, 0
	for i := len(tokens) - 1; i >= 0; i-- { // they are kept in the order in which they were made
		row := tokenRow{Token: tokens[i], Badge: badge{"good", "active"}}
		switch {
		case !row.ExpiresAt.IsZero() && !now.Before(row.ExpiresAt):
			row.Badge = badge{"quiet", "ended"}
		case newest == nil:
			newest = &tokens[i]
		default:
			if !row.ExpiresAt.IsZero() {
				row.Badge = badge{"warn", "ending"}
			}
			older++
			if row.Used = row.LastUsedAt.After(newest.CreatedAt); row.Used {
				used++
			}
		}
		table.Rows = append(table.Rows, row)
	}
	switch {
	case older == 0 || !table.Uses:
	case used > 0:
		table.Advice = "An older token is still in use: the app, or a part of it, has not moved to the newest yet."
	case newest.LastUsedAt.IsZero():
		table.Advice = "The newest token has not been used yet."
	default:
		table.Advice = "The app has moved to the newest token. What is older was not used since that was made, and can be revoked."
	}
	return table
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

// once has a token made, unless the form was sent before. When none is made the form may be sent again; once there is one it may not, whatever
// becomes of the page that shows it.
func once[T any](v *visit, f *form, do func(*form) (T, keybearer.Secret, error)) (T, keybearer.Secret, error) {
	sent := f.Get("nonce")
	if !v.SignIn.First(v.person, sent) {
		var zero T
		return zero, keybearer.Secret{}, keybearer.NewError(keybearer.Conflict, "this form was sent already, and what token it made was shown then").
			WithHint("a token is shown once; if you did not copy it, revoke it and make another")
	}
	made, token, err := do(f)
	if err != nil {
		v.SignIn.Forget(v.person, sent)
	}
	return made, token, err
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
	rows := tokensOf(v.Now(), h, tokens).Rows
	if len(rows) > 0 {
		m.Expires, m.Older = rows[0].ExpiresAt, rows[1:]
	}
	return v.showStatus(http.StatusCreated, "token-made", "Token of "+h.Name, &m)
}

// revokePage asks whether a token, or all of them, are to be revoked.
type revokePage struct {
	holder
	Token *tokenRow // nil: all
	Rows  []tokenRow
	Form  *form
}

func (v *visit) revokeForm(h holder, tokens []custody.Token, revision uint64) error {
	rows := tokensOf(v.Now(), h, tokens).Rows
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
