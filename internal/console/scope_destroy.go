package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// regenerationPage tells what a regenerate would destroy, and then asks for the confirmation.
type regenerationPage struct {
	custody.Regeneration
	Count  int    // live and tombstoned ones
	Seen   string // stands for the list that is shown
	Shells bool   // the credentials stay, without their secrets
	Form   *form
}

// More is how many credentials are not listed.
func (p *regenerationPage) More() int { return p.Count - len(p.Regeneration.Credentials) }

// Here is the address of the second step for this list.
func (p *regenerationPage) Here() string {
	keep := "nothing"
	if p.Shells {
		keep = "shells"
	}
	return scopePath(p.Scope.Name) + "/regenerate/confirm?" + url.Values{"keep": {keep}, "seen": {p.Seen}}.Encode()
}

// dying does a dry run.
func (v *visit) dying() (*regenerationPage, error) {
	r, err := v.Custody.RegenerateKey(v.r.Context(), custody.Ask{Actor: v.person.Actor, ID: v.id}, v.r.PathValue("scope"), custody.Regenerate{DryRun: true})
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	for i := range r.Credentials {
		fmt.Fprintln(hash, r.Credentials[i].ID, r.Credentials[i].DeletedAt.IsZero())
	}
	return &regenerationPage{
		Regeneration: r, Count: r.Live + r.Tombstoned, Seen: hex.EncodeToString(hash.Sum(nil)[:12]),
		Form: &form{Values: url.Values{}, Revision: r.Scope.Revision},
	}, nil
}

// regeneratePage is the first step: look.
func (v *visit) regeneratePage() error {
	data, err := v.dying()
	if err != nil {
		return err
	}
	return v.showRegeneration(http.StatusOK, "scope-regenerate", data)
}

func (v *visit) showRegeneration(status int, template string, data *regenerationPage) error {
	return v.showStatus(status, template, "Regenerate the key of "+data.Scope.Name, data)
}

// regenerateConfirm is the second step: say that it is meant.
func (v *visit) regenerateConfirm() error {
	data, err := v.dying()
	if err != nil {
		return err
	}
	query := v.r.URL.Query()
	data.Shells = query.Get("keep") == "shells"
	if query.Get("seen") != data.Seen {
		return v.lookAgain(data)
	}
	return v.showRegeneration(http.StatusOK, "scope-regenerate-confirm", data)
}

// lookAgain goes back to the first step, since the list there was another.
func (v *visit) lookAgain(data *regenerationPage) error {
	data.Form.Problem = &Problem{
		Code: keybearer.CountMismatch, Status: keybearer.CountMismatch.Info().Status, RequestID: v.id,
		Detail: "The list has changed since you looked, so nothing was destroyed.",
		Hint:   "Look at it again, then go on.",
	}
	return v.showRegeneration(data.Form.Problem.Status, "scope-regenerate", data)
}

// regenerateKey is the third: do it.
func (v *visit) regenerateKey() error {
	f := v.posted()
	data, err := v.dying()
	if err != nil {
		return err
	}
	f.Revision, data.Form, data.Shells = v.ask().Revision, f, f.Is("keep", "shells")
	if f.Get("seen") != data.Seen {
		return v.lookAgain(data)
	}
	r, err := v.regenerate(f, data.Shells)
	if err != nil {
		if f.keep(err, v.id, data.Scope.Revision) {
			f.mistyped(data.Count)
			return v.showRegeneration(f.Problem.Status, "scope-regenerate-confirm", data)
		}
		return err
	}
	text := "Regenerated the key of " + r.Scope.Name + ". "
	if data.Shells {
		text += counted(uint64(data.Count), "secret") + " destroyed; the credentials are still there and need new ones."
	} else {
		text += counted(uint64(data.Count), "credential") + " destroyed."
	}
	return v.done(text, scopePath(r.Scope.Name))
}

func (v *visit) regenerate(f *form, shells bool) (custody.Regeneration, error) {
	count, err := typedCount(f)
	if err == nil {
		err = v.presence()
	}
	if err != nil {
		return custody.Regeneration{}, err
	}
	return v.Custody.RegenerateKey(v.r.Context(), v.asking(), v.r.PathValue("scope"), custody.Regenerate{
		Confirmation: custody.Confirmation{Confirm: f.Get("confirm"), Expected: count}, KeepShells: shells,
	})
}

// mistyped says in the words of a form what was not typed as it should be.
func (f *form) mistyped(count int) {
	if f.Errors["confirm"] != "" {
		f.Errors["confirm"] = "This is not the name of the scope."
	}
	if f.Errors["expected_credentials"] != "" {
		f.Errors["expected_credentials"] = "This is not how many there are: " + number(uint64(count)) + "."
	}
}

func typedCount(f *form) (int, error) {
	n, err := strconv.Atoi(f.Get("expected_credentials"))
	if err != nil || n < 0 {
		return 0, keybearer.NewError(keybearer.CountMismatch, "type the number of credentials").In("expected_credentials").WithHint("in digits")
	}
	return n, nil
}

// scopeDeletePage asks whether a scope is to be deleted.
type scopeDeletePage struct {
	custody.Scope
	Live, Deleted int
	Form          *form
}

func (v *visit) scopeDelete() error {
	data, err := v.doomed()
	if err != nil {
		return err
	}
	data.Form = &form{Revision: data.Revision}
	return v.show("scope-delete", "Delete "+data.Name, data)
}

func (v *visit) doomed() (data scopeDeletePage, err error) {
	ctx, ask, name := v.r.Context(), custody.Ask{Actor: v.person.Actor, ID: v.id}, v.r.PathValue("scope")
	if data.Scope, err = v.Custody.Scope(ctx, ask, name); err != nil {
		return data, err
	}
	if data.Name == keybearer.GlobalScope {
		return data, keybearer.NewError(keybearer.Conflict, "the scope global stays").WithHint("regenerate its key to destroy what it holds")
	}
	if !data.DeletedAt.IsZero() {
		return data, keybearer.NewError(keybearer.NotFound, "there is no such scope")
	}
	data.Live, data.Deleted, err = v.Custody.CountCredentials(ctx, ask, name)
	return data, err
}

func (v *visit) deleteScope() error {
	f := v.posted()
	data, err := v.doomed()
	if err != nil {
		return err
	}
	data.Form = f
	s, err := v.destroyScope(f)
	if err != nil {
		if f.keep(err, v.id, data.Revision) {
			f.mistyped(data.Deleted)
			return v.showStatus(f.Problem.Status, "scope-delete", "Delete "+data.Name, data)
		}
		return err
	}
	return v.done("Deleted scope "+s.Name+". Its name stays reserved.", "/scopes")
}

func (v *visit) destroyScope(f *form) (custody.Scope, error) {
	count, err := typedCount(f)
	if err == nil {
		err = v.presence()
	}
	if err != nil {
		return custody.Scope{}, err
	}
	return v.Custody.DeleteScope(v.r.Context(), v.asking(), v.r.PathValue("scope"), custody.Confirmation{Confirm: f.Get("confirm"), Expected: count})
}
