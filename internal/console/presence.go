package console

import (
	"github.com/keybearer/keybearer"
)

// presence asks who is signed in to prove it again, unless they did so just now: before what destroys. The form shows the part "presence",
// whose field it reads. Its error belongs to that field.
func (v *visit) presence() error {
	if token := v.secret("token"); !token.IsZero() {
		if err := v.SignIn.Confirm(v.r.Context(), v.id, token); err != nil {
			if keybearer.CodeOf(err) == keybearer.Unauthenticated {
				return keybearer.NewError(keybearer.Forbidden, "this is not your token, or it has ended").In("token")
			}
			return err
		}
		return v.identify() // who has just proved it
	}
	if v.person.RecentlyConfirmed() {
		return nil
	}
	return keybearer.NewError(keybearer.Forbidden, "prove first that it is still you").In("token")
}
