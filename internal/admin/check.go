package admin

import (
	"slices"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

func check(x *exchange) (*reply, error) {
	r, err := decode[CheckRequest](x)
	if err != nil {
		return nil, err
	}
	ref, err := keybearer.ParseRef(r.Credential)
	if err != nil {
		return nil, err
	}
	report, err := x.custody.Check(x.Context(), x.ask, custody.CheckRequest{
		Credential: ref, Caller: r.Caller, User: r.User, Groups: r.Groups, Method: r.Method, URL: r.URL,
	})
	if err != nil {
		return nil, err
	}
	out := CheckResult{
		Allowed: report.Decision == keybearer.Allow, Code: report.Code, Reason: report.Reason, Rule: report.Rule, Destination: report.URL,
		WouldRefuse: report.WouldRefuse,
	}
	if report.Nearest != nil {
		out.Examples = new(ExamplesOf(*report.Nearest))
	}
	if !out.Allowed {
		out.Hint = report.Code.Info().Hint
	}
	for _, s := range report.Steps {
		out.Steps = append(out.Steps, CheckStep{s.Name, s.Passed, s.Detail})
	}
	for _, r := range report.Rules {
		out.Rules = append(out.Rules, CheckRule(r))
	}
	if i := slices.IndexFunc(report.Rules, func(r policy.RuleReport) bool { return r.Admits }); i >= 0 {
		out.Private = report.Rules[i].Private
	}
	return &reply{body: out}, nil
}

func usage(x *exchange) (*reply, error) {
	v, err := x.parameters("credential", "since")
	if err != nil {
		return nil, err
	}
	var ref keybearer.Ref
	if v.Has("credential") {
		if ref, err = keybearer.ParseRef(v.Get("credential")); err != nil {
			return nil, err
		}
	}
	since, err := moment(v, "since", time.Now().Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	u, err := x.custody.Usage(x.Context(), x.ask, ref, since)
	if err != nil {
		return nil, err
	}
	out := UsageReport{Usage: wireUsage(u.Credential), Hours: make([]UsageHour, 0, len(u.Hours))}
	for _, h := range u.Hours {
		out.Hours = append(out.Hours, UsageHour(h))
	}
	return &reply{body: out}, nil
}
