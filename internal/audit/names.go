package audit

import (
	"net"
	"strconv"
	"strings"
)

const maxNames = 10_000

// names holds one copy of each text that comes again and again, so that records neither keep the chunk of the file that they were
// read from nor allocate.
type names struct {
	texts     map[string]string
	addresses map[address]string
}

type address struct {
	host string
	port uint16
}

func newNames() names {
	return names{make(map[string]string), make(map[address]string)}
}

func (n names) copyOf(s string) string {
	if s == "" {
		return ""
	}
	if c, ok := n.texts[s]; ok {
		return c
	}
	if len(n.texts) >= maxNames {
		clear(n.texts)
	}
	c := strings.Clone(s)
	n.texts[c] = c
	return c
}

// address joins host and port, where both are there.
func (n names) address(host string, port uint16) string {
	if host == "" || port == 0 {
		return n.copyOf(host)
	}
	if c, ok := n.addresses[address{host, port}]; ok {
		return c
	}
	if len(n.addresses) >= maxNames {
		clear(n.addresses)
	}
	c := net.JoinHostPort(host, strconv.Itoa(int(port)))
	n.addresses[address{strings.Clone(host), port}] = c
	return c
}
