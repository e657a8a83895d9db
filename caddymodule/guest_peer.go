package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func init() { caddy.RegisterModule(UnixPeerIdentity{}) }

// UnixPeerIdentity proves callers by the process at the other end of a unix socket, as the kernel tells of it.
type UnixPeerIdentity struct {
	// Which user or group proves which caller.
	Map []PeerMapping `json:"map,omitempty"`
}

// PeerMapping says that a process of the user, or whose primary group is the group, is the caller. It has one of uid, gid, user and group.
type PeerMapping struct {
	// Number of the user.
	UID *uint32 `json:"uid,omitempty"`

	// Number of the primary group.
	GID *uint32 `json:"gid,omitempty"`

	// Name of the user, looked up in the system's files when the configuration is read.
	User string `json:"user,omitempty"`

	// Name of the primary group, looked up in the same way.
	Group string `json:"group,omitempty"`

	// "app:<name>".
	Caller string `json:"caller"`
}

// CaddyModule returns the Caddy module information.
func (UnixPeerIdentity) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keybearer.identities.unix_peer", New: func() caddy.Module { return new(UnixPeerIdentity) }}
}

// UnmarshalCaddyfile sets up the identity. Every option may be repeated.
//
//	identity unix_peer {
//		uid   <number> app:<name>
//		gid   <number> app:<name>
//		user  <name>   app:<name>
//		group <name>   app:<name>
//	}
func (u *UnixPeerIdentity) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's own name
	if d.NextArg() {
		return d.Errf("unexpected argument %q: unix_peer takes a block with uid, gid, user or group", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		var m PeerMapping
		switch option {
		case "uid", "gid", "user", "group":
		default:
			return d.Errf("unknown option %q: identity unix_peer takes uid, gid, user and group", option)
		}
		who, caller, err := pair(d, "a "+option+" and a caller, such as app:billing")
		if err != nil {
			return err
		}
		m.Caller = caller
		switch option {
		case "uid", "gid":
			n, err := strconv.ParseUint(who, 10, 32)
			if err != nil {
				return d.Errf("%s %q is no number from 0 to 4294967295: names go behind user and group", option, who)
			}
			if id := uint32(n); option == "uid" {
				m.UID = &id
			} else {
				m.GID = &id
			}
		case "user":
			m.User = who
		case "group":
			m.Group = who
		}
		u.Map = append(u.Map, m)
	}
	return nil
}

// Provision looks names up and checks the mappings. Afterwards each has the number in place of the name, so that a reload sees who has another now.
func (u *UnixPeerIdentity) Provision(caddy.Context) error {
	for i := range u.Map {
		if err := u.Map[i].resolve(); err != nil {
			return err
		}
	}
	uids, gids, err := u.maps()
	if err == nil {
		_, err = identity.NewPeers(nil, uids, gids, uint32(os.Geteuid()))
	}
	return explain(err)
}

func (m *PeerMapping) resolve() error {
	set := 0
	for _, is := range []bool{m.UID != nil, m.GID != nil, m.User != "", m.Group != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("a mapping to %s has not one of uid, gid, user and group: give each line one", m.Caller)
	}
	number := func(text string) *uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil
		}
		return new(uint32(n))
	}
	switch {
	case m.User != "":
		found, err := user.Lookup(m.User)
		if err != nil {
			return fmt.Errorf("there is no user %q in /etc/passwd: make it, or write its number behind uid", m.User)
		}
		if m.UID = number(found.Uid); m.UID == nil {
			return fmt.Errorf("user %q has no number: write it behind uid", m.User)
		}
		m.User = ""
	case m.Group != "":
		found, err := user.LookupGroup(m.Group)
		if err != nil {
			return fmt.Errorf("there is no group %q in /etc/group: make it, or write its number behind gid", m.Group)
		}
		if m.GID = number(found.Gid); m.GID == nil {
			return fmt.Errorf("group %q has no number: write it behind gid", m.Group)
		}
		m.Group = ""
	}
	return nil
}

// maps returns the names of callers by uid and by gid.
func (u *UnixPeerIdentity) maps() (uids, gids map[uint32]string, err error) {
	if len(u.Map) == 0 {
		return nil, nil, fmt.Errorf("unix_peer maps nobody: add a line such as uid 1001 app:billing")
	}
	uids, gids = map[uint32]string{}, map[uint32]string{}
	for _, m := range u.Map {
		name, err := callerName(m.Caller)
		if err != nil {
			return nil, nil, err
		}
		kind, by, id := "uid", uids, m.UID
		if m.GID != nil {
			kind, by, id = "gid", gids, m.GID
		}
		if _, twice := by[*id]; twice {
			return nil, nil, fmt.Errorf("%s %d is mapped twice: keep one", kind, *id)
		}
		by[*id] = name
	}
	return uids, gids, nil
}

// OpenIdentity implements [IdentityModule].
func (u *UnixPeerIdentity) OpenIdentity(_ context.Context, callers keybearer.Callers, _ *slog.Logger) (keybearer.Identity, error) {
	uids, gids, err := u.maps()
	if err != nil {
		return nil, err
	}
	return identity.NewPeers(callers, uids, gids, uint32(os.Geteuid()))
}

// Interface guards.
var (
	_ IdentityModule        = (*UnixPeerIdentity)(nil)
	_ caddy.Provisioner     = (*UnixPeerIdentity)(nil)
	_ caddyfile.Unmarshaler = (*UnixPeerIdentity)(nil)
)
