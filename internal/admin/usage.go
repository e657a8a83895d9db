package admin

import (
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

var usageOperations = []operation{
	{
		Method: http.MethodGet, Path: "/api/v1/usage", ID: "showUsage", Summary: "Tell how one credential, or all of them together, were used, hour by hour",
		Needs: needsView + "; of all together: " + needsInstanceAdmin,
		Query: []parameter{{Name: "credential", Description: "<scope>/<name>; without it all together", Type: reflect.TypeFor[string]()}, sinceParameter},
		Takes: bare(usage), Answer: reflect.TypeFor[UsageReport](),
	},
	{
		Method: http.MethodGet, Path: "/api/v1/usage/activity", ID: "showActivity", Summary: "Sum up the use of all that the asker may see, by hour, scope and refusal", Needs: needsNothing,
		Query: []parameter{
			{Name: "scope", Description: "name or id of the scope; without it all scopes", Type: reflect.TypeFor[string]()},
			{Name: "credentials", Description: "ids of credentials, at most 1000, with commas between, whose hours are wanted one by one", Type: reflect.TypeFor[string]()},
			sinceParameter,
		},
		Takes: bare(activity), Answer: reflect.TypeFor[Activity](),
	},
	{
		Method: http.MethodGet, Path: "/api/v1/usage/attention", ID: "showAttention", Summary: "List the credentials that somebody should look at: disabled, without a secret, expiring, unused", Needs: needsNothing,
		Takes: bare(attention), Answer: reflect.TypeFor[Attention](),
	},
}

func wireHours(hours []keybearer.UsageHour) []UsageHour {
	out := make([]UsageHour, 0, len(hours))
	for _, h := range hours {
		out = append(out, UsageHour(h))
	}
	return out
}

func usage(x *exchange) (*reply, error) {
	var ref keybearer.Ref
	var err error
	if x.query.Has("credential") {
		if ref, err = keybearer.ParseRef(x.query.Get("credential")); err != nil {
			return nil, err
		}
	}
	since, err := moment(x.query, "since", time.Now().Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	u, err := x.custody.Usage(x.Context(), x.ask, ref, since)
	if err != nil {
		return nil, err
	}
	return &reply{body: UsageReport{Usage: wireUsage(u.Credential), Hours: wireHours(u.Hours)}}, nil
}

func activity(x *exchange) (*reply, error) {
	since, err := moment(x.query, "since", time.Time{})
	if err != nil {
		return nil, err
	}
	var ids []string
	if list := x.query.Get("credentials"); list != "" {
		ids = strings.Split(list, ",")
	}
	a, err := x.custody.Activity(x.Context(), x.ask, custody.ActivityQuery{Scope: x.query.Get("scope"), Credentials: ids, Since: since})
	if err != nil {
		return nil, err
	}
	out := Activity{
		Since: a.Since, Hours: wireHours(a.Hours), Scopes: []ScopeActivity{}, Credentials: []CredentialActivity{}, Refusals: []RefusalCount{}, Whole: a.Whole, Counted: a.Counted,
	}
	for _, s := range a.Scopes {
		out.Scopes = append(out.Scopes, ScopeActivity(s))
	}
	for _, id := range ids {
		if hours := a.Credentials[id]; hours != nil {
			out.Credentials = append(out.Credentials, CredentialActivity{id, wireHours(hours)})
			delete(a.Credentials, id) // asked for twice
		}
	}
	for _, r := range a.Refusals {
		out.Refusals = append(out.Refusals, RefusalCount(r))
	}
	return &reply{body: out}, nil
}

func attention(x *exchange) (*reply, error) {
	a, err := x.custody.Attention(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	wire := func(n custody.Noted) Noted {
		out := Noted{Total: n.Total, Credentials: make([]Credential, 0, len(n.Credentials))}
		for _, c := range n.Credentials {
			out.Credentials = append(out.Credentials, wireCredential(c))
		}
		return out
	}
	return &reply{body: Attention{
		Disabled: wire(a.Disabled), NeedsSecret: wire(a.NeedsSecret), Expiring: wire(a.Expiring), Unused: wire(a.Unused), Counted: a.Counted,
	}}, nil
}
