package scrub

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrFrames is what [Frames] gives for bytes that are no frames of a server without extensions (RFC 6455 section 5.2), or that hide a message in
// too many of them.
var ErrFrames = errors.New("the frames cannot be read")

// Frames reads what a WebSocket server sends, without the secret: each byte of a form inside a message is a "*", also where it is split over fragments,
// with control frames between. Frames stay as long as they are. A message that has ended is never held back. It is not safe for concurrent use.
type Frames struct {
	from io.Reader
	a    *automaton
	in   []byte

	out          []byte // [given:ready) may go on, what follows is held
	given, ready int
	gaps         []gap // what is held and no payload of the message
	err          error

	head      [10]byte
	got       int    // of the head
	left      uint64 // of the payload
	control   bool   // it is no message's
	begin     int    // of a control frame's payload, in out
	final     bool
	message   bool  // one is under way
	node      int32 // within it
	separated bool  // the last byte of out is in a gap
}

// gap is out[from:to].
type gap struct{ from, to int }

const (
	maxHeld    = 1 << 20 // of out, beyond what a form needs in one frame
	maxControl = 125     // RFC 6455 section 5.5
)

// Frames returns a reader of what r gives.
func (s *Set) Frames(r io.Reader) *Frames { return &Frames{from: r, a: s.machine()} }

// Read implements [io.Reader]. It returns errors of the reader below, and ErrFrames, after what was read before.
func (f *Frames) Read(p []byte) (int, error) {
	for f.given == f.ready {
		if f.err != nil {
			return 0, f.err
		}
		f.fill()
	}
	n := copy(p, f.out[f.given:f.ready])
	f.given += n
	return n, nil
}

// fill reads more, once all that may go on has been given.
func (f *Frames) fill() {
	f.out = f.out[:copy(f.out, f.out[f.ready:])]
	for i := range f.gaps {
		f.gaps[i].from -= f.ready
		f.gaps[i].to -= f.ready
	}
	f.begin -= f.ready
	f.given, f.ready = 0, 0
	if f.in == nil {
		f.in = make([]byte, chunk)
	}
	n, err := f.from.Read(f.in)
	f.err = err
	for in := f.in[:n]; len(in) > 0; {
		if f.left > 0 {
			in = f.payload(in)
			continue
		}
		f.head[f.got] = in[0]
		f.got++
		f.skip(in[0])
		in = in[1:]
		if !f.header() {
			f.err = ErrFrames
			break
		}
	}
	if f.err != nil {
		f.end()
	}
	f.settle()
}

// header looks at the head so far, and begins the payload when it is whole. It reports false when it is not one of a server.
func (f *Frames) header() bool {
	if f.got < 2 {
		return true
	}
	opcode, length := f.head[0]&0xf, f.head[1]
	need := 2
	switch {
	case f.head[0]&0x70 != 0, length&0x80 != 0: // an extension that nobody agreed on; masked
		return false
	case length == 126:
		need = 4
	case length == 127:
		need = 10
	}
	if f.got < need {
		return true
	}
	f.got, f.final = 0, f.head[0]&0x80 != 0
	switch need {
	case 2:
		f.left = uint64(length)
	case 4:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	default:
		f.left = binary.BigEndian.Uint64(f.head[2:])
	}
	switch opcode {
	case 0x8, 0x9, 0xa: // close, ping, pong
		if !f.final || f.left > maxControl {
			return false
		}
		f.control, f.begin = true, len(f.out)
	case 0x0, 0x1, 0x2: // continuation, text, binary
		if (opcode == 0) != f.message || f.left>>63 != 0 {
			return false
		}
		f.control, f.message = false, true
	default:
		return false
	}
	if f.left == 0 {
		f.close()
	}
	return true
}

// payload takes what belongs to the frame under way, and returns the rest.
func (f *Frames) payload(in []byte) []byte {
	n := int(min(f.left, uint64(len(in))))
	f.left -= uint64(n)
	for i, b := range in[:n] {
		if f.control {
			f.skip(b)
			continue
		}
		f.separated = false
		if f.node == 0 { // whatever is found from here on begins here too
			f.out = append(f.out, in[i:n]...)
			f.node = f.a.mask(0, f.out, len(f.out)-(n-i))
			break
		}
		f.out = append(f.out, b)
		f.node = f.a.next(f.node, b)
		if found := int(f.a.found[f.node]); found > 0 {
			f.cover(found)
		}
	}
	if f.left == 0 {
		f.close()
	}
	return in[n:]
}

// close ends a frame.
func (f *Frames) close() {
	switch {
	case f.control:
		text := f.out[f.begin:]
		f.a.end(f.a.mask(0, text, 0), text)
		f.control = false
	case f.final:
		f.end()
	}
}

// end ends the message.
func (f *Frames) end() {
	if n := int(f.a.hold[f.node]); n >= Least {
		f.cover(n)
	}
	f.node, f.message = 0, false
}

// settle lets go of all but what is held of the message and what came behind it.
func (f *Frames) settle() {
	f.ready = f.back(int(f.a.hold[f.node]))
	if f.control {
		f.ready = min(f.ready, f.begin) // its payload has still to come
	}
	if len(f.out)-f.ready > maxHeld+11*int(f.a.hold[f.node]) {
		f.err = ErrFrames
	}
	kept := f.gaps[:0]
	for _, g := range f.gaps {
		if g.to > f.ready {
			kept = append(kept, g)
		}
	}
	f.separated = f.separated && len(kept) > 0 && kept[len(kept)-1].to == len(f.out)
	f.gaps = kept
}

// skip takes a byte that is no payload of the message.
func (f *Frames) skip(b byte) {
	if !f.separated {
		f.gaps = append(f.gaps, gap{len(f.out), len(f.out)})
		f.separated = true
	}
	f.out = append(f.out, b)
	f.gaps[len(f.gaps)-1].to = len(f.out)
}

// back returns where the last n bytes of the message's payload begin in out. For 0 that is its end.
func (f *Frames) back(n int) int { return f.walk(n, func([]byte) {}) }

func (f *Frames) cover(n int) { f.walk(n, cover) }

// walk goes back over the last n bytes of the message's payload, piece by piece, and returns where they begin.
func (f *Frames) walk(n int, piece func([]byte)) int {
	at := len(f.out)
	for i := len(f.gaps) - 1; n > 0; i-- {
		low := 0
		if i >= 0 {
			low = f.gaps[i].to
		}
		from := max(at-n, low)
		piece(f.out[from:at])
		n -= at - from
		at = from
		if n > 0 {
			at = f.gaps[i].from
		}
	}
	return at
}
