package signin

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// maxGroups is how many a person may have.
const maxGroups = 1000

// word is what a provider said of a person when they signed in. A session keeps it; roles follow from it and the configuration at each request.
type word struct {
	Issuer, ClientID       string
	UserClaim, GroupsClaim string
	Name                   string
	Groups                 []string
}

// gave reports whether the provider, as it is configured now, is the one that gave the word.
func (p *Provider) gave(w word) bool {
	return w.Issuer == p.Issuer && w.ClientID == p.ClientID && w.UserClaim == p.UserClaim && w.GroupsClaim == p.GroupsClaim
}

// assertion adds the roles that the configuration gives for the groups.
func (p *Provider) assertion(w word) custody.Assertion {
	a := custody.Assertion{Name: w.Name, Groups: w.Groups}
	in := func(groups []string) bool {
		return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(w.Groups, g) })
	}
	if in(p.InstanceAdmins) {
		a.Roles = append(a.Roles, keybearer.RoleInstanceAdmin)
	}
	for scope, groups := range p.ScopeAdmins {
		if in(groups) {
			a.Roles = append(a.Roles, keybearer.RoleScopeAdmin+scope)
		}
	}
	return a
}

// claims are those of an ID token whose signature, issuer, audience and time hold already.
type claims map[string]json.RawMessage

// word reads who the person is. Its errors name claims and none of their values.
func (p *Provider) word(c claims) (word, error) {
	w := word{Issuer: p.Issuer, ClientID: p.ClientID, UserClaim: p.UserClaim, GroupsClaim: p.GroupsClaim}
	if json.Unmarshal(c[p.UserClaim], &w.Name) != nil || w.Name == "" {
		return w, errors.New("the ID token has no text in the claim " + p.UserClaim)
	}
	if p.UserClaim == "email" && string(c["email_verified"]) != "true" && string(c["email_verified"]) != `"true"` {
		return w, errors.New("the ID token does not say that the e-mail address is verified (email_verified)")
	}
	if p.GroupsClaim != "" && len(c[p.GroupsClaim]) > 0 && string(c[p.GroupsClaim]) != "null" {
		var one string
		if json.Unmarshal(c[p.GroupsClaim], &w.Groups) != nil {
			if json.Unmarshal(c[p.GroupsClaim], &one) != nil {
				return w, errors.New("the claim " + p.GroupsClaim + " of the ID token is no list of texts")
			}
			w.Groups = []string{one}
		}
		if len(w.Groups) > maxGroups {
			return w, errors.New("the claim " + p.GroupsClaim + " of the ID token has more than " + strconv.Itoa(maxGroups) + " groups")
		}
	}
	return w, nil
}

// party returns an error when the token was issued to another party than us (OpenID Connect Core section 3.1.3.7).
func (p *Provider) party(c claims, audiences int) error {
	raw, there := c["azp"]
	var azp string
	if there && (json.Unmarshal(raw, &azp) != nil || azp != p.ClientID) || !there && audiences > 1 {
		return errors.New("the ID token was issued to another client (azp)")
	}
	return nil
}

// clockSlack is by how much the provider's clock and this one's may differ.
const clockSlack = 30 * time.Second

// fresh returns an error unless the token says that the person proved themselves to the provider after the moment.
func (c claims) fresh(since, now time.Time) error {
	var at float64
	if json.Unmarshal(c["auth_time"], &at) != nil || at <= 0 {
		return errors.New("the ID token does not say when the person was authenticated (auth_time)")
	}
	t := time.Unix(int64(at), 0)
	if t.Before(since.Add(-clockSlack)) || t.After(now.Add(clockSlack)) {
		return errors.New("the provider did not authenticate the person anew (auth_time)")
	}
	return nil
}
