package dial

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a real DNS server on loopback.
type nameServer struct {
	conn *net.UDPConn

	mu    sync.Mutex
	heard sync.Cond               // a question came
	zone  map[string][]netip.Addr // by name without dot
	asked map[string]int          // by name with its dot, one for each pair of A and AAAA
	mute  bool                    // does not answer
	hold  chan struct{}           // when not nil, answers wait until it is closed
	turn  func(name string, asked int) []netip.Addr
}

func serveNames(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, zone: map[string][]netip.Addr{}, asked: map[string]int{}}
	s.heard.L = &s.mu
	t.Cleanup(func() { _ = conn.Close() })
	go s.serve()
	return s
}

func (s *nameServer) address() string { return s.conn.LocalAddr().String() }

func (s *nameServer) set(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		list[i] = netip.MustParseAddr(a)
	}
	s.zone[name] = list
}

// change changes what the server does from now on.
func (s *nameServer) change(how func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how()
}

func (s *nameServer) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name+"."]
}

// await returns when the name has been asked for.
func (s *nameServer) await(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.asked[name+"."] == 0 {
		s.heard.Wait()
	}
}

func (s *nameServer) serve() {
	for {
		b := make([]byte, 512)
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		go s.answer(b[:n], from)
	}
}

func (s *nameServer) answer(query []byte, to netip.AddrPort) {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return
	}
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	s.mu.Lock()
	if q.Type == dnsmessage.TypeA {
		s.asked[q.Name.String()]++
		s.heard.Broadcast()
	}
	list, known := s.zone[name]
	if s.turn != nil && q.Type == dnsmessage.TypeA {
		list, known = s.turn(name, s.asked[q.Name.String()]), true
	}
	mute, hold := s.mute, s.hold
	s.mu.Unlock()
	if mute {
		return
	}
	if hold != nil {
		<-hold
	}
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range list {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if packed, err := m.Pack(); err == nil {
		_, _ = s.conn.WriteToUDPAddrPort(packed, to)
	}
}
