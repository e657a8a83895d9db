package console

import (
	"net/http"

	"github.com/keybearer/keybearer"
)

// setUpPage is where the set-up link leads: it makes the first operator.
type setUpPage struct {
	Form     *form
	Provider string // name of the identity provider; "": there is none
	Claim    string // of its ID tokens that names people
	Name     string // of the operator that was made; "": none yet
	Token    string // of that operator, shown this once
}

func (v *visit) showSetUp(status int, data setUpPage) error {
	v.w.Header().Set("Referrer-Policy", "strict-origin") // the address holds the code
	if p := v.SignIn.Provider(); p != nil {
		data.Provider, data.Claim = p.Name(), p.UserClaim
	}
	return v.showStatus(status, "set-up", "Set up Keybearer", data)
}

func (v *visit) code() keybearer.Secret { return keybearer.NewSecret(v.r.PathValue("code")) }

func (v *visit) setUpPage() error {
	v.w.Header().Set("Referrer-Policy", "strict-origin")
	if err := v.SignIn.CheckSetUp(v.r.Context(), v.id, v.code()); err != nil {
		return err
	}
	return v.showSetUp(http.StatusOK, setUpPage{Form: &form{}})
}

// setUp makes the first operator and shows its token.
func (v *visit) setUp() error {
	v.w.Header().Set("Referrer-Policy", "strict-origin")
	f := v.posted()
	token, err := v.SignIn.SetUp(v.r.Context(), v.id, v.code(), f.Get("name"))
	if err != nil {
		if code := keybearer.CodeOf(err); code == keybearer.Invalid || code == keybearer.AlreadyExists {
			f.blame(keybearer.AsError(err).In("name"), v.id)
			return v.showSetUp(f.Problem.Status, setUpPage{Form: f})
		}
		return err
	}
	return v.showSetUp(http.StatusCreated, setUpPage{Form: f, Name: f.Get("name"), Token: token.Reveal()})
}
