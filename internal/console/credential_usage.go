package console

import (
	"net/url"

	"github.com/keybearer/keybearer"
)

// usagePage tells who used the credential, and when.
type usagePage struct {
	one
	Span     string
	Chart    *Chart // nil: nothing is known
	Refusals []refusalCount
	Audit    bool // the person may read the audit log
}

// refusalCount counts refusals of one reason, with the way to those in the audit log.
type refusalCount struct {
	Code  keybearer.Code
	Title string
	Count uint64
	To    string
}

func (v *visit) usage() error {
	o, err := v.one("/usage", nil)
	if err != nil {
		return err
	}
	p := &usagePage{one: o, Audit: o.ScopeAdmin}
	value, span := spanOf(v.r.URL.Query().Get("span"))
	p.Span = value
	chart, u, err := v.activity(&o, span, "Requests")
	if err != nil {
		return err
	}
	p.Chart = chart
	for _, r := range u.Refusals {
		p.Refusals = append(p.Refusals, refusalCount{
			r.Code, sentence(r.Code.Info().Title), r.Count,
			"/audit?" + url.Values{"credential": {o.Full()}, "code": {string(r.Code)}}.Encode(),
		})
	}
	return v.showOne(&o, "credential-usage", "Usage", p)
}
