package console

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// dangerPage takes the credential out of use.
type dangerPage struct {
	one
	Recent bool // it was used so lately that deleting it takes a second word
}

// lately is how long after its last use custody asks for force.
const lately = 30 * 24 * time.Hour

func (v *visit) danger() error { return v.dangerForm(nil) }

func (v *visit) dangerForm(f *form) error {
	o, err := v.one("/danger", f)
	if err != nil {
		return err
	}
	p := &dangerPage{one: o}
	p.Recent = o.Usage != nil && v.Now().Sub(o.Usage.LastAt) < lately ||
		o.Form.Problem != nil && o.Form.Problem.Code == keybearer.RecentlyUsed
	return v.showOne(&o, "credential-danger", "Danger zone", p)
}

func (v *visit) disable() error {
	return v.act(v.Custody.DisableCredential, v.dangerForm, "/danger", func(custody.Credential) string {
		return "Disabled: every use is refused from now on."
	})
}

func (v *visit) enable() error {
	return v.act(v.Custody.EnableCredential, v.dangerForm, "", func(c custody.Credential) string {
		if c.State == keybearer.Active {
			return "Enabled: it can be used again."
		}
		return "Enabled."
	})
}

func (v *visit) delete() error {
	return v.act(func(ctx context.Context, ask custody.Ask, ref keybearer.Ref) (custody.Credential, error) {
		if v.r.PostFormValue("name") != ref.Name {
			return custody.Credential{}, keybearer.NewError(keybearer.ConfirmationRequired, "this is not the credential's name").
				WithHint("type " + ref.Name).In("name")
		}
		return v.Custody.DeleteCredential(ctx, ask, ref, v.r.PostFormValue("force") == "on")
	}, v.dangerForm, "", func(custody.Credential) string {
		return "Deleted: every use is refused from now on. It can be restored for a while."
	})
}

func (v *visit) restore() error {
	return v.act(v.Custody.RestoreCredential, v.credentialForm, "", func(custody.Credential) string {
		return "Restored, as it was."
	})
}
