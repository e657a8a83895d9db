package anchor

import (
	"context"
	"fmt"

	"github.com/keybearer/keybearer"
)

// Diagnose tells where the anchor is, how far it goes, and what is wrong with it.
func (a *Anchor) Diagnose(context.Context) []keybearer.Finding {
	f := keybearer.Finding{Check: "file", Detail: fmt.Sprintf("%s is at change %d", a.path, a.highest())}
	err := a.Holds()
	if err == nil {
		_, err = Read(a.path)
	}
	if err == nil {
		a.writing.Lock()
		err = a.failed
		a.writing.Unlock()
	}
	if err != nil {
		f.Err = keybearer.AsError(err)
	}
	return []keybearer.Finding{f}
}

// Off stands for an anchor that the configuration does without.
type Off struct{}

// Diagnose warns.
func (Off) Diagnose(context.Context) []keybearer.Finding {
	return []keybearer.Finding{{
		Check: "file", Warn: true,
		Err: keybearer.NewError(keybearer.StoreUnavailable, "it is off: nobody notices that a backup of the store was restored, and what was revoked since is valid again").
			WithHint("remove the line anchor off"),
	}}
}
