// Package records is what every store does alike with records: the form in which their times are kept, the text that a search looks through,
// the cursor of a listing, and telling those who watch.
//
// It knows no database and decides nothing.
package records

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Trim brings times into UTC and cuts them to the microsecond, as [keybearer.Store] keeps them.
func Trim(times ...*time.Time) {
	for _, t := range times {
		*t = t.UTC().Truncate(time.Microsecond)
	}
}

// TrimScope brings the times of a record into the stored form. The record is the caller's own.
func TrimScope(r *keybearer.Scope) {
	Trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	for _, k := range []*keybearer.ScopeKey{r.Key, r.Former} {
		if k != nil {
			Trim(&k.CreatedAt, &k.RotatedAt)
		}
	}
	if r.Work != nil {
		Trim(&r.Work.StartedAt)
	}
}

// TrimCredential is TrimScope for a credential.
func TrimCredential(r *keybearer.Credential) {
	Trim(&r.ExpiresAt, &r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	if r.Trial != nil {
		Trim(&r.Trial.Since)
	}
	for _, v := range []*keybearer.Version{&r.Current, r.Previous} {
		if v != nil {
			Trim(&v.CreatedAt, &v.RetiredAt)
		}
	}
}

// TrimCaller is TrimScope for a caller.
func TrimCaller(r *keybearer.Caller) {
	Trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	trimTokens(r.Tokens)
}

// TrimOperator is TrimScope for an operator.
func TrimOperator(r *keybearer.Operator) {
	Trim(&r.CreatedAt, &r.UpdatedAt, &r.DeletedAt)
	trimTokens(r.Tokens)
}

func trimTokens(tokens []keybearer.Token) {
	for i := range tokens {
		Trim(&tokens[i].CreatedAt, &tokens[i].ExpiresAt)
	}
}

// between keeps a search from matching across the end of one word and the start of the next. It is in no folded text.
const between = "\x1f"

// SearchText is the text in which a search for a part of one of the words finds it.
func SearchText(words ...string) string {
	folded := make([]string, len(words))
	for i, w := range words {
		folded[i] = Fold(w)
	}
	return strings.Join(folded, between)
}

// CredentialWords are the words by which a credential is found, beside its name.
func CredentialWords(r *keybearer.Credential) []string {
	words := []string{r.Description}
	for i := range r.Current.Terms.Rules {
		words = append(words, r.Current.Terms.Rules[i].Host)
	}
	return words
}

// Fold is the form in which texts are compared: lower case, and without a byte that some database refuses in a text.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, strings.ToLower(strings.ToValidUTF8(s, "\uFFFD")))
}

// Cursor is the opaque form of the key of a page's last row.
func Cursor(key ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(key, between)))
}

// ParseCursor reads what Cursor wrote. It reports false for what cannot be that; how many parts it has is for the listing to judge.
func ParseCursor(c string) (key []string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(c)
	return strings.Split(string(b), between), err == nil
}
