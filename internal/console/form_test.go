package console

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/keybearer/keybearer"
)

func TestAFormForgetsWhatIsSecretInIt(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
	r.PostForm = url.Values{"name": {"crm"}, "revision": {"7"}, "secret": {"s3cret"}, "username": {"u"}, "token": {"kbo_x"}}
	r.Form = r.PostForm
	v := &visit{r: r}
	f := v.posted()
	if f.Get("name") != "crm" || f.Revision != 7 || len(f.Values) != 2 {
		t.Errorf("it holds %v", f.Values)
	}
	if got := v.secret("secret").Reveal(); got != "s3cret" {
		t.Errorf("the secret is %q", got)
	}
}

// An error goes to the field of the form that custody means, and to the whole form otherwise; what cannot be mended there goes to nobody.
func TestErrorsGoToTheFieldThatTheyAreOf(t *testing.T) {
	f := &form{Names: map[string]string{"destinations[0]": "rule-4"}}
	if !f.blame(keybearer.NewError(keybearer.RuleInvalid, "no").WithHint("write x").In("destinations[0]"), "req_1") || f.Errors["rule-4"] != "No. Write x." || f.Problem.Field != "rule-4" {
		t.Errorf("%+v", f)
	}
	for _, code := range []keybearer.Code{keybearer.StoreUnavailable, keybearer.Internal, keybearer.NotFound, keybearer.Unauthenticated} {
		if new(form).blame(keybearer.NewError(code, ""), "") {
			t.Errorf("%s is shown in a form", code)
		}
	}
}

// A page offers a thousand scopes at most: what somebody holds in others stays when the form is sent.
func TestWhatWasChosenIsAmongWhatIsOffered(t *testing.T) {
	f := &form{Values: url.Values{"scopes": {"a", "far"}}}
	got := f.keeping("scopes", []Option{{Value: "a", Text: "a", Note: "first"}, {Value: "b", Text: "b"}})
	if want := []Option{{Value: "a", Text: "a", Note: "first"}, {Value: "b", Text: "b"}, {Value: "far", Text: "far"}}; !slices.Equal(got, want) {
		t.Error(got)
	}
}
