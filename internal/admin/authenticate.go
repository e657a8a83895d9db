package admin

import (
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// Authenticate tells who sends a request. It returns [keybearer.Unauthenticated] when the request does not prove it.
type Authenticate func(*http.Request) (custody.Actor, error)

// Peers authenticates by the uid at the other end of a unix socket, which peer gets from the request; nil stands for a request that
// came otherwise. The server's own uid and root are instance admins, as "user:uid-<n>"; nobody else is anybody.
func Peers(peer func(*http.Request) *keybearer.PeerCredentials) Authenticate {
	own := uint32(os.Geteuid())
	return func(r *http.Request) (custody.Actor, error) {
		p := peer(r)
		if p == nil || p.UID != 0 && p.UID != own {
			return custody.Actor{}, keybearer.NewError(keybearer.Unauthenticated, "the admin socket serves root and the server's own user").
				WithHint("become one of them, or use an operator's token with KEYBEARER_ADDR and KEYBEARER_TOKEN_FILE")
		}
		return custody.Actor{
			Subject: keybearer.UserSubject("uid-" + strconv.FormatUint(uint64(p.UID), 10)),
			Roles:   []string{keybearer.RoleInstanceAdmin},
		}, nil
	}
}

// Tokens authenticates by the one operator's or caller's token in Authorization: Bearer.
func Tokens(c *custody.Custody) Authenticate {
	return func(r *http.Request) (custody.Actor, error) {
		values := r.Header.Values("Authorization")
		if len(values) != 1 {
			return custody.Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
		}
		scheme, token, _ := strings.Cut(values[0], " ")
		if !strings.EqualFold(scheme, "Bearer") || !keybearer.LooksLikeToken(token) {
			return custody.Actor{}, keybearer.NewError(keybearer.Unauthenticated, "")
		}
		return c.ActorByToken(r.Context(), keybearer.NewSecret(token))
	}
}

// sameOrigin refuses requests that a browser sends for another site's page.
func sameOrigin(r *http.Request) error {
	refused := keybearer.NewError(keybearer.Forbidden, "the API does not serve other sites' pages")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return refused
	}
	for _, o := range r.Header.Values("Origin") {
		if u, err := url.Parse(o); err != nil || u.Host == "" || u.Host != r.Host {
			return refused
		}
	}
	return nil
}
