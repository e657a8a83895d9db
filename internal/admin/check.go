package admin

import (
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

func check(x *exchange, r CheckRequest) (*reply, error) {
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
