package main

// target is a package whose guards are broken.
type target struct {
	dir   string
	files []string // those that hold guards
}

// targets are the packages that decide, and that Caddy takes no part in.
var targets = []target{
	{dir: "policy", files: []string{"decide.go", "admit.go", "target.go", "host.go", "rule.go", "widen.go", "header.go", "trial.go", "example.go"}},
	{dir: "internal/dial", files: []string{"classify.go", "dial.go", "race.go", "resolve.go"}},
	{dir: "internal/revocation", files: []string{"list.go", "lists.go", "staple.go"}},
	{dir: "internal/inject", files: []string{"field.go"}},
	{dir: "internal/scrub", files: []string{"automaton.go", "form.go", "frames.go", "reader.go", "set.go"}},
	{dir: "internal/fence", files: []string{"cache.go", "follow.go"}},
	{dir: "internal/identity", files: []string{
		"token.go", "budget.go", "mtls.go", "authorities.go", "subject.go", "verdicts.go", "peers.go",
		"bearer.go", "jwt.go", "keyset.go", "user.go", "recognize.go", "issuer.go", "fetch.go",
	}},
	{dir: "internal/proxy", files: []string{"call.go", "fields.go", "gate.go", "limit.go", "live.go", "pass.go", "relay.go", "scrub.go", "snapshot.go", "status.go", "transport.go", "websocket.go"}},
}
