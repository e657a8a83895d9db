package caddymodule

import (
	"fmt"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Sharing says how this process takes part in a store that others use too.
type Sharing struct {
	// Name of this process among those that share the store, the same after a restart: its audit events and its place in its audit
	// log are kept by that name. Placeholders are allowed. Default: a random one, kept in the file `node` in the home directory.
	Node string `json:"node,omitempty"`

	// How often the store is asked for changes when it announces none, between 10ms and 1s. Default: 300ms.
	Poll caddy.Duration `json:"poll,omitempty"`
}

const (
	minPoll  = 10 * time.Millisecond
	maxPoll  = time.Second
	openWait = 30 * time.Second // for a store that starts at the same time
)

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// unmarshalOption parses the option that the dispenser stands at, if it is node or poll.
func (s *Sharing) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	option := d.Val()
	switch {
	case option == "node" && s.Node != "", option == "poll" && s.Poll != 0:
		return true, d.Errf("%s is written twice: keep one", option)
	case option == "node":
		s.Node, err = argument(d, "a name")
	case option == "poll":
		var v *caddy.Duration
		if v, err = duration(d); err == nil {
			s.Poll = *v
		}
	default:
		return false, nil
	}
	return true, err
}

// provision resolves placeholders and checks both.
func (s *Sharing) provision() error {
	if s.Node != "" {
		node, err := caddy.NewReplacer().ReplaceOrErr(s.Node, true, true)
		if err != nil {
			return fmt.Errorf("node: %w", err)
		}
		if s.Node = node; !nodeName.MatchString(node) {
			return fmt.Errorf("node %q: a name has at most 63 letters, digits, dots, dashes and underscores", node)
		}
	}
	if poll := time.Duration(s.Poll); poll != 0 && (poll < minPoll || poll > maxPoll) {
		return fmt.Errorf("poll is between %v and %v, not %v", minPoll, maxPoll, poll)
	}
	return nil
}

// node returns the name of this process.
func (s *Sharing) node() (string, error) {
	if s.Node != "" {
		return s.Node, nil
	}
	return ownNode()
}
