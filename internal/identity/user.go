package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/keybearer/keybearer"
)

const (
	maxJTI    = 255  // bytes
	maxGroups = 1000 // of a user
)

// UserIssuer says who may assert acting users, for which callers.
type UserIssuer struct {
	IssuerConfig
	Callers     []string          // names of those who may use it
	UserClaim   string            // with the user's id, as in "user:<id>"
	GroupsClaim string            // with the names of the groups; "": none
	MaxAge      time.Duration     // how long an assertion may live
	Parties     map[string]string // by a value of azp: the name of the caller that it stands for
}

// Users proves acting users by assertions of several issuers. It is safe for concurrent use.
type Users struct{ issuers []*userIssuer }

type userIssuer struct {
	UserIssuer
	issuer *Issuer
}

var (
	_ keybearer.ActingUsers = (*Users)(nil)
	_ keybearer.Recognizer  = (*Users)(nil)
)

// OpenUsers begins to follow the keys of the issuers. Errors are those of [OpenIssuer].
func OpenUsers(configs []UserIssuer) (*Users, error) {
	u := new(Users)
	for _, c := range configs {
		c.Once = true
		i, err := OpenIssuer(c.IssuerConfig)
		if err != nil {
			return nil, errors.Join(err, u.Close())
		}
		u.issuers = append(u.issuers, &userIssuer{c, i})
	}
	return u, nil
}

// Close stops following the keys.
func (u *Users) Close() error {
	var errs []error
	for _, i := range u.issuers {
		errs = append(errs, i.issuer.Close())
	}
	return errors.Join(errs...)
}

// Recognize reports whether the text holds an assertion: it is nobody's but ours, wherever an app puts it.
func (u *Users) Recognize(text string) bool {
	return slices.ContainsFunc(u.issuers, func(i *userIssuer) bool { return i.issuer.Concerns(text) })
}

// Prove implements [keybearer.ActingUsers].
func (u *Users) Prove(ctx context.Context, assertion string, caller *keybearer.Caller, at time.Time) (*keybearer.User, error) {
	for _, i := range u.issuers {
		if !i.issuer.Concerns(assertion) {
			continue
		}
		user, err := i.prove(ctx, assertion, caller, at)
		if err == nil {
			return user, nil
		}
		if f, ok := errors.AsType[*flaw](err); ok {
			return nil, refuseUser(f.detail, f.hint)
		}
		if ctx.Err() != nil {
			return nil, &keybearer.Error{Code: keybearer.CallerGone, Op: "prove the acting user", Err: err}
		}
		return nil, keybearer.NewError(keybearer.UserRequired, "the acting user's assertion cannot be judged: the keys of its issuer cannot be had at the moment").
			WithHint("try again in a moment; if it stays so, the operator finds the cause in the log")
	}
	return nil, refuseUser("is of no issuer that is trusted here, or not for the audience that is asked for", "compare its iss and aud with acting_user in the configuration")
}

func refuseUser(detail, hint string) error {
	return keybearer.NewError(keybearer.UserRequired, "the acting user's assertion "+detail).WithHint(hint)
}

func (i *userIssuer) prove(ctx context.Context, assertion string, caller *keybearer.Caller, at time.Time) (*keybearer.User, error) {
	if !slices.Contains(i.Callers, caller.Name) {
		return nil, flawed("is of an issuer that is not trusted for this caller", "add the caller to callers in acting_user, if it is to be")
	}
	c, err := i.issuer.verify(ctx, assertion, at)
	if err != nil {
		return nil, err
	}
	if err := i.fresh(c); err != nil {
		return nil, err
	}
	if len(c.audience) != 1 {
		return nil, flawed("is for several audiences", "have the issuer make it for Keybearer alone")
	}
	if azp, ok := c.text("azp"); !ok || !i.standsFor(azp, caller.Name) {
		return nil, flawed("was not made for this caller", "have the issuer set azp to app:<caller>, or bind its value with azp in acting_user")
	}
	jti, ok := c.text("jti")
	if !ok || jti == "" || len(jti) > maxJTI {
		return nil, flawed("has no id of its own", "have the issuer set jti, of at most 255 bytes")
	}
	id, ok := c.text(i.UserClaim)
	if _, err := keybearer.ParseSubject("user:" + id); !ok || err != nil {
		return nil, flawed("names no user that can hold a grant", "a user's id is 1 to 255 visible ASCII characters; user_claim says where it stands")
	}
	groups, err := i.groups(c)
	if err != nil {
		return nil, err
	}
	return &keybearer.User{ID: id, Groups: groups, Once: onceID(i.Issuer, jti), Until: c.expires.Add(i.Leeway)}, nil
}

// fresh refuses what lives for long: so none that has not expired was made long ago.
func (i *userIssuer) fresh(c *claims) error {
	switch {
	case c.issued.IsZero():
		return flawed("does not say when it was made", "have the issuer set iat")
	case c.expires.Sub(c.issued) > i.MaxAge:
		return flawed("lives for too long", "have the issuer set exp sooner after iat, or raise max_age")
	}
	return nil
}

// standsFor reports whether the party that an assertion was made for is the caller.
func (i *userIssuer) standsFor(azp, caller string) bool {
	if name, bound := i.Parties[azp]; bound {
		return name == caller
	}
	return azp == caller || azp == "app:"+caller
}

// groups returns the user's groups. Those that no grant could name are left out.
func (i *userIssuer) groups(c *claims) ([]string, error) {
	raw, there := c.all[i.GroupsClaim]
	if i.GroupsClaim == "" || !there {
		return nil, nil
	}
	var all []string
	if json.Unmarshal(raw, &all) != nil {
		return nil, flawed("holds groups that are not a list of texts", "groups_claim says where they stand")
	}
	if len(all) > maxGroups {
		return nil, flawed("names more than 1000 groups", "have the issuer leave out those that no grant is for")
	}
	return slices.DeleteFunc(all, func(name string) bool {
		_, err := keybearer.ParseSubject("group:" + name)
		return err != nil
	}), nil
}

// onceID tells assertions apart: an issuer gives no jti twice.
func onceID(issuer, jti string) keybearer.OnceID {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(issuer)))
	b = append(append(b, issuer...), jti...)
	return sha256.Sum256(b)
}
