package admin

import (
	"github.com/keybearer/keybearer"
)

func wireTrial(t *keybearer.Trial) *Trial {
	if t == nil {
		return nil
	}
	return &Trial{ID: t.ID, Destinations: wireRules(t.Rules), Since: t.Since, By: t.By}
}

func showTrial(x *exchange) (*reply, error) {
	t, err := x.custody.Trial(x.Context(), x.ask, x.ref())
	if err != nil {
		return nil, err
	}
	out := TrialReport{Trial: wireTrial(t.Trial), WouldRefuse: []TrialUse{}, Counted: t.Counted}
	for _, u := range t.Uses {
		out.WouldRefuse = append(out.WouldRefuse, TrialUse(u))
	}
	return &reply{revision: t.Revision, body: out}, nil
}

func tryDestinations(x *exchange, d TrialRules) (*reply, error) {
	return credentialReply(x.custody.TryDestinations(x.Context(), x.ask, x.ref(), destinations(d.Destinations)))
}
