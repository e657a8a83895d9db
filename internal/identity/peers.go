package identity

import (
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
)

// Peers proves callers by the process at the other end of a unix socket, as the kernel tells of it (unix(7), SO_PEERCRED): its user, and
// its primary group. What counts is who connected; a socket that is handed on afterwards speaks for that one still.
type Peers struct {
	callers    keybearer.Callers
	uids, gids map[uint32]string
	self, none uint32 // uids of this process, and of those of other user namespaces
}

// NewPeers returns a Peers over names of callers by uid and by gid. It keeps both maps. The error is [keybearer.Invalid]: who is mapped
// must not be root, the user self, who is this process's own, or the user or group that the kernel shows for everyone of another user namespace.
func NewPeers(callers keybearer.Callers, uids, gids map[uint32]string, self uint32) (*Peers, error) {
	p := &Peers{callers, uids, gids, self, overflow("/proc/sys/kernel/overflowuid")}
	bad := func(kind string, id uint32, detail, hint string) (*Peers, error) {
		return nil, keybearer.NewError(keybearer.Invalid, kind+" "+strconv.FormatUint(uint64(id), 10)+" "+detail).WithHint(hint)
	}
	for uid := range uids {
		switch uid {
		case 0:
			return bad("uid", uid, "is root, who may be every user", "run the app as a user of its own, and map that")
		case p.self:
			return bad("uid", uid, "is the server's own, who administers it", "run the app or the server as another user")
		case p.none:
			return bad("uid", uid, "stands for every user of another user namespace", "map a uid that this namespace knows")
		}
	}
	for gid := range gids {
		switch gid {
		case 0:
			return bad("gid", gid, "is root's group", "run the app in a group of its own, and map that")
		case overflow("/proc/sys/kernel/overflowgid"):
			return bad("gid", gid, "stands for every group of another user namespace", "map a gid that this namespace knows")
		}
	}
	return p, nil
}

// overflow returns the id that the kernel shows for those that this user namespace does not know (user_namespaces(7)).
func overflow(file string) uint32 {
	text, _ := os.ReadFile(file)
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 65534 // where the kernel says nothing
	}
	return uint32(id)
}

// Identify implements [keybearer.Identity]. Root, the server's own user and those of other user namespaces prove nothing by their group.
func (p *Peers) Identify(ctx context.Context, e *keybearer.Evidence) (*keybearer.Caller, error) {
	if e.Peer == nil {
		return nil, nil
	}
	switch e.Peer.UID {
	case 0, p.self, p.none:
		return nil, nil
	}
	name, group := p.uids[e.Peer.UID], p.gids[e.Peer.GID]
	switch {
	case name == "":
		name = group
	case group != "" && group != name:
		return nil, refuse("the peer's user and group prove two different callers", "operators: map one of the two")
	}
	if name == "" {
		return nil, nil
	}
	return p.callers.ByName(ctx, name)
}
