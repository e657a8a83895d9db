package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

func (c *cli) credentialListing() listing[admin.Credential] {
	return listing[admin.Credential]{
		heads: []string{"NAME", "KIND", "STATE", "DESTINATIONS", "LAST USED", "EXPIRES"},
		cells: func(x admin.Credential) []cell {
			used := ""
			if x.Usage != nil && !x.Usage.LastAt.IsZero() {
				used = ago(x.Usage.LastAt, c.now()) + " by " + x.Usage.LastCaller
			}
			return []cell{
				bold(x.Ref().String()), plain(string(x.Kind)), stateCell(x.State), plain(ruleTexts(x.Destinations)), plain(used),
				plain(ago(x.ExpiresAt, c.now())),
			}
		},
		name:  func(x admin.Credential) string { return x.Ref().String() },
		empty: "no credential that you may see",
	}
}

func stateCell(s keybearer.State) cell {
	switch s {
	case keybearer.Active:
		return good(string(s))
	case keybearer.NeedsSecret, keybearer.Expired:
		return odd(string(s))
	}
	return bad(string(s))
}

// ruleTexts names the destinations in a few words.
func ruleTexts(destinations []admin.Destination) string {
	switch len(destinations) {
	case 0:
		return "no destination"
	case 1:
		return destinations[0].Rule
	}
	return fmt.Sprintf("%s and %d more", destinations[0].Rule, len(destinations)-1)
}

// ruleCell is one rule with what is special about it.
func ruleCell(d admin.Destination) cell {
	text := d.Rule
	if len(d.Methods) > 0 {
		text += "  " + strings.Join(d.Methods, ",")
	}
	if d.Private {
		text += "  private"
	}
	if d.Clear {
		return odd(text + "  sent in clear")
	}
	return plain(text)
}

func (c *cli) credentialFields(x admin.Credential) []field {
	var rules, grants []cell
	for _, d := range x.Destinations {
		rules = append(rules, ruleCell(d))
	}
	if len(rules) == 0 {
		rules = []cell{odd("none: every request is refused")}
	}
	var tried []cell
	if x.Trial != nil {
		for _, d := range x.Trial.Destinations {
			tried = append(tried, ruleCell(d))
		}
	}
	for _, g := range x.Grants {
		grants = append(grants, plainf("%s  %s", g.Subject, g.Level))
	}
	now := c.now()
	var used []field
	if x.Usage != nil {
		used = c.lastUseFields(*x.Usage)
	}
	var previous cell
	if p := x.Previous; p != nil {
		previous = plainf("version %d, ends %s", p.Version, ago(p.KeptTo, now))
	}
	var writes string
	switch x.Kind {
	case keybearer.Basic, keybearer.Bearer:
		writes = "Authorization"
	default:
		writes = x.Header + ": " + x.Prefix + "…"
	}
	secret := plainf("version %d, %s", x.Version, ago(x.VersionAt, now))
	if x.Version == 0 {
		secret = odd("none yet: keybearer credential set-secret " + x.Ref().String())
	}
	var options []string
	for _, o := range []struct {
		on   bool
		name string
	}{
		{x.RequireUser, "require-user"},
		{x.WebSocket, "websocket"},
		{x.PassCookies, "pass-cookies"},
		{x.PassTrace, "pass-trace"},
		{x.ScrubBody, "scrub-body"},
	} {
		if o.on {
			options = append(options, o.name)
		}
	}
	return slices.Concat([]field{
		row("name", bold(x.Ref().String())),
		row("id", plain(x.ID)),
		row("description", plain(x.Description)),
		row("kind", plain(string(x.Kind))),
		row("writes", plain(writes)),
		row("state", stateCell(x.State)),
		row("destinations", rules...),
		row("on trial", tried...),
		row("options", plain(strings.Join(options, ", "))),
		row("grants", grants...),
		row("your level", plain(x.Level.String())),
		row("secret", secret),
		row("previous", previous),
		row("expires", plain(ago(x.ExpiresAt, now))),
	}, used, []field{
		row("created", plain(ago(x.CreatedAt, now))),
		row("changed", plain(ago(x.UpdatedAt, now))),
		row("deleted", bad(ago(x.DeletedAt, now))),
		row("restorable", plain(ago(x.RestorableTo, now))),
	})
}

// warnClear says which destinations get the secret without TLS.
func (c *cli) warnClear(destinations []admin.Destination) {
	for _, d := range destinations {
		if d.Clear {
			c.warn("the secret is sent in clear to %s", d.Rule)
		}
	}
}
