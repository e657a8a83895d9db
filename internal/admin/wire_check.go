package admin

import "github.com/keybearer/keybearer"

// CheckRequest asks whether a request would be allowed. No secret is opened and no connection made.
type CheckRequest struct {
	Credential string   `json:"credential"`       // "<scope>/<name>"
	Caller     string   `json:"caller,omitempty"` // name; absent: the caller whose token asks
	User       string   `json:"user,omitempty"`   // acting user's id
	Groups     []string `json:"groups,omitempty"` // of the acting user
	Method     string   `json:"method"`
	URL        string   `json:"url"` // as the app would ask for it through the proxy: http means https there
}

// CheckResult is the decision and why.
type CheckResult struct {
	Allowed     bool           `json:"allowed"`
	Code        keybearer.Code `json:"code,omitempty"` // when refused
	Reason      string         `json:"reason"`
	Rule        string         `json:"rule,omitempty"`        // that admits it
	Destination string         `json:"destination,omitempty"` // canonical, scheme and port settled, without query
	Private     bool           `json:"private,omitempty"`     // the rule reaches only addresses in allow_private, which are judged when it resolves
	Hint        string         `json:"hint,omitempty"`
	Steps       []CheckStep    `json:"steps,omitempty"` // shown to those who may list the grants; up to the refusal
	Rules       []CheckRule    `json:"rules,omitempty"` // once the decision comes to them
}

// CheckStep is one stage of the decision.
type CheckStep struct {
	Step   string `json:"step"` // caller, destination, scope, grant, user, state, rule
	Passed bool   `json:"passed"`
	Detail string `json:"detail"`
}

// CheckRule is what one rule says to the request.
type CheckRule struct {
	Rule    string   `json:"rule"`
	Methods []string `json:"methods,omitempty"`
	Private bool     `json:"private,omitempty"`
	Admits  bool     `json:"admits"`
	Why     string   `json:"why,omitempty"` // why not
}

// AuditQuery selects events of the audit log.
type AuditQuery struct {
	Limit      int                 // newest so many, oldest of them first; 0: 100; at most 1000
	Follow     bool                // go on with new events until the context ends
	Scope      string              // name
	Credential string              // name, or "<scope>/<name>"
	Caller     string              // name
	ID         string              // request id
	Kind       keybearer.EventKind // use, refusal or change
	Code       keybearer.Code
}
