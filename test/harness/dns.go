package harness

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server on loopback that knows the names it is told and denies all others.
type DNS struct {
	Addr string // host:port, UDP

	mu      sync.Mutex
	names   map[string][]netip.Addr
	queries map[string]int
}

// StartDNS starts a name server.
func StartDNS(tb TB) *DNS {
	tb.Helper()
	conn, err := net.ListenPacket("udp", netip.AddrPortFrom(Address(), 53).String())
	if err != nil {
		tb.Fatalf("name server: %v", err)
	}
	d := &DNS{Addr: conn.LocalAddr().String(), names: map[string][]netip.Addr{}, queries: map[string]int{}}
	tb.Cleanup(func() { _ = conn.Close() })
	go d.serve(conn)
	return d
}

// Set makes a name resolve to these addresses from now on.
func (d *DNS) Set(name string, addrs ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[strings.ToLower(name)] = addrs
}

// Queries returns how often the name was asked for, A and AAAA together.
func (d *DNS) Queries(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[strings.ToLower(name)]
}

func (d *DNS) serve(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		if answer, err := d.answer(buf[:n]); err == nil {
			_, _ = conn.WriteTo(answer, from) // whoever asked will ask again
		}
	}
}

func (d *DNS) answer(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	d.mu.Lock()
	addrs, known := d.names[name]
	d.queries[name]++
	d.mu.Unlock()

	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		record := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			record.Header.Type, record.Body = q.Type, &dnsmessage.AResource{A: a.As4()}
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			record.Header.Type, record.Body = q.Type, &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		reply.Answers = append(reply.Answers, record)
	}
	return reply.Pack()
}
