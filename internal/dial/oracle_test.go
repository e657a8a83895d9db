package dial

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"testing"

	"code.dny.dev/ssrf"

	"github.com/keybearer/keybearer/policy"
	"github.com/keybearer/keybearer/test/soak"
)

// oracle is Python's own opinion of addresses, written in another language by others: 16 bytes in, IPv4 as mapped, one byte out.
const oracle = `
import ipaddress, sys
read, write, ff = sys.stdin.buffer.read, sys.stdout.buffer.write, bytes(10) + b"\xff\xff"
def ordinary(b):
    a = ipaddress.IPv4Address(b[12:]) if b[:12] == ff else ipaddress.IPv6Address(b)
    if not a.is_global or a.is_multicast or a.is_reserved or a.is_private or a.is_loopback or a.is_link_local or a.is_unspecified: return 0
    if a.version == 6 and (a.is_site_local or a.sixtofour or a.teredo): return 0
    return 1
while True:
    block = read(16 * 4096)
    if not block: break
    write(bytes(ordinary(block[i:i + 16]) for i in range(0, len(block), 16)))
sys.stdout.buffer.flush()
`

// Nothing that one of two tables of other people calls special is ordinary here: neither at any border of any network, nor at random,
// nor in the forms that carry an IPv4 address.
func TestSoakOfAddressesAgainstTwoOracles(t *testing.T) {
	soak.Record(t, "special addresses against two independent tables (Python's ipaddress, `code.dny.dev/ssrf`)", ask(t, soak.Size(t, 100_000, 12_000_000)),
		"0 special ones called ordinary")
}

func ask(t *testing.T, count int) string {
	t.Helper()
	python := exec.CommandContext(t.Context(), "python3", "-c", oracle)
	python.Stderr = os.Stderr
	in, err := python.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := python.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := python.Start(); err != nil {
		t.Fatal(err)
	}
	const seed = 20261126
	go func() {
		w := bufio.NewWriterSize(in, 1<<20)
		for a := range drawn(seed, count) {
			b := a.As16()
			if _, err := w.Write(b[:]); err != nil {
				break
			}
		}
		_ = w.Flush()
		_ = in.Close()
	}()

	guardian := ssrf.New(ssrf.WithAnyPort())
	d := New(Config{})
	answers := bufio.NewReaderSize(out, 1<<20)
	var asked, ordinary, wrong, ours int
	for a := range drawn(seed, count) {
		answer, err := answers.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		asked++
		public := d.Classify(a) == policy.Public
		network := "tcp6"
		if plain(a).Is4() {
			network = "tcp4"
		}
		theirs := guardian.Safe(network, netip.AddrPortFrom(plain(a), 443).String(), nil) == nil
		switch {
		case public && (answer == 0 || !theirs):
			if wrong++; wrong < 10 {
				t.Errorf("%s is ordinary here; Python says %d, ssrf says %v", a, answer, theirs)
			}
		case public:
			ordinary++
		case theirs && !within(metadata, plain(a)):
			if ours++; ours < 10 { // this table is made of the same registries
				t.Errorf("%s is special here and not for ssrf", a)
			}
		}
	}
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Error("Python answered more than it was asked")
	}
	if err := python.Wait(); err != nil {
		t.Error(err)
	}
	if asked < count || ordinary < asked/10 || ordinary > asked*9/10 {
		t.Errorf("%d asked, %d ordinary: the draw shows nothing", asked, ordinary)
	}
	if wrong > 0 {
		t.Errorf("%d addresses that an oracle calls special were called ordinary", wrong)
	}
	return fmt.Sprintf("%s addresses, %s of them special", soak.Count(asked), soak.Count(asked-ordinary-wrong))
}

// drawn yields count addresses or a few more, the same ones for the same seed: the ends of all special networks with their neighbours, mapped and
// carried in every form; then at random, one half near a border.
func drawn(seed uint64, count int) func(func(netip.Addr) bool) {
	networks := slices.Concat(prefixes("2000::/3", "0.0.0.0/0"), special4, special6, metadata)
	return func(yield func(netip.Addr) bool) {
		n := 0
		forms := func(a netip.Addr) bool {
			if !a.IsValid() {
				return true
			}
			for _, form := range append([]netip.Addr{a}, carried(a)...) {
				n++
				if !yield(form) {
					return false
				}
			}
			return true
		}
		for _, p := range networks {
			first, last := p.Masked().Addr(), lastOf(p)
			for _, a := range []netip.Addr{first, last, first.Prev(), last.Next(), first.Next(), last.Prev()} {
				if !forms(a) {
					return
				}
			}
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		for n < count {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], rng.Uint64())
			binary.BigEndian.PutUint64(b[8:], rng.Uint64())
			any4, any6 := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom16(b)
			b[0] = b[0]&0x1f | 0x20
			p := networks[rng.IntN(len(networks))]
			if !forms(any4) || !forms(near(p, rng)) || !forms(netip.AddrFrom16(b)) || n%8 == 0 && !forms(any6) {
				return
			}
		}
	}
}

// near returns an address within the network, or in one of its size beside it.
func near(p netip.Prefix, rng *rand.Rand) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] ^= byte(rng.IntN(2)) << (7 - i%8)
	}
	if p.Bits() > 0 && rng.IntN(2) == 0 {
		i := p.Bits() - 1 - rng.IntN(min(p.Bits(), 4))
		b[i/8] ^= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// carried returns the IPv6 forms of an IPv4 address: mapped, compatible, translated (RFC 2765), NAT64 of both prefixes, 6to4, Teredo.
func carried(a netip.Addr) []netip.Addr {
	if !a.Is4() {
		return nil
	}
	v := a.As4()
	form := func(prefix string, at int, inverted bool) netip.Addr {
		b := netip.MustParseAddr(prefix).As16()
		for i, c := range v {
			if inverted {
				c = ^c
			}
			b[at+i] = c
		}
		return netip.AddrFrom16(b)
	}
	return []netip.Addr{
		form("::ffff:0:0", 12, false), form("::", 12, false), form("::ffff:0:0:0", 12, false), form("64:ff9b::", 12, false),
		form("64:ff9b:1::", 12, false), form("2002::", 2, false), form("2001::", 12, true),
	}
}
