package console

import (
	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// overviewPage says what goes on and what somebody should look at.
type overviewPage struct {
	Span       string
	Chart      *Chart
	Counted    bool // something is known of use
	Whole      bool // the chart is of all that the person may see
	Refusals   []refusal
	Scopes     []custody.ScopeActivity
	Attention  custody.Attention
	Parts      []custody.Part // for instance admins
	First      string         // what to do on a server that has nothing yet: "key", "caller", "credential"; "" when it has
	FirstScope string         // where to do it; "": in global
}

// refusal is one reason, how often it came, and its share of all for a bar.
type refusal struct {
	Code  keybearer.Code
	Title string
	Count uint64
	Share int // percent of the most frequent one
}

func (v *visit) overview() error {
	ctx, ask := v.r.Context(), v.ask()
	value, span := spanOf(v.r.URL.Query().Get("span"))
	activity, err := v.Custody.Activity(ctx, ask, custody.ActivityQuery{Since: chartBegin(v.Now(), span)})
	if err != nil {
		return err
	}
	data := overviewPage{
		Span: value, Counted: activity.Counted, Whole: activity.Whole, Scopes: activity.Scopes,
		Chart: newChart(v.Now(), "Requests", activity.Hours, span),
	}
	for _, r := range activity.Refusals {
		share := 100
		if top := activity.Refusals[0].Count; top > 0 {
			share = int(100 * r.Count / top)
		}
		data.Refusals = append(data.Refusals, refusal{r.Code, sentence(r.Code.Info().Title), r.Count, max(share, 1)})
	}
	if data.Attention, err = v.Custody.Attention(ctx, ask); err != nil {
		return err
	}
	if v.person.InstanceAdmin() {
		if data.Parts, err = v.Custody.Status(ctx, ask); err != nil {
			return err
		}
		if data.First, data.FirstScope, err = v.first(); err != nil {
			return err
		}
	}
	return v.show("overview", "Overview", data)
}

// first is the next step on the way to the first use, for a server that is new, and the scope to take it in; "" for global. The caller comes
// before the credential, whose form can then grant it use.
func (v *visit) first() (step, scope string, err error) {
	ctx, ask, one := v.r.Context(), v.ask(), keybearer.Query{Limit: 1}
	credentials, err := v.Custody.Credentials(ctx, ask, "", one)
	if err != nil {
		return "", "", err
	}
	callers, err := v.Custody.Callers(ctx, ask, one)
	if err != nil || len(credentials.Items) > 0 && len(callers.Items) > 0 {
		return "", "", err
	}
	scopes, err := v.scopes()
	if err != nil {
		return "", "", err
	}
	step = "key"
	for _, s := range scopes {
		if s.Key == nil {
			continue
		}
		step = "caller"
		if s.Name != keybearer.GlobalScope {
			scope = s.Name
			break
		}
	}
	if step == "caller" && len(callers.Items) > 0 {
		step = "credential"
	}
	return step, scope, nil
}

// Broken are the parts that do not work, and the risks.
func (p overviewPage) Broken() (all []custody.Part) {
	for _, part := range p.Parts {
		if part.Err != nil {
			all = append(all, part)
		}
	}
	return all
}

// Quiet reports whether nothing needs anybody.
func (p overviewPage) Quiet() bool {
	a := &p.Attention
	return a.Disabled.Total+a.NeedsSecret.Total+a.Expiring.Total+a.Unused.Total == 0
}
