package scrub

import "io"

const chunk = 32 << 10 // read at a time

// Reader reads a text without the secret: each byte of a form is a "*". It holds back only what a form may go on from. A text that ends within a form,
// Least bytes or more into it, loses these too. It is not safe for concurrent use.
type Reader struct {
	from         io.Reader
	a            *automaton
	node         int32
	text         []byte // read; [given:ready) may go on, what follows is held
	given, ready int
	err          error
}

// Reader returns a reader of what r gives. It gives errors of r after what was read before.
func (s *Set) Reader(r io.Reader) *Reader { return &Reader{from: r, a: s.machine()} }

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	for r.given == r.ready {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.text[r.given:r.ready])
	r.given += n
	return n, nil
}

// fill reads more, once all that may go on has been given.
func (r *Reader) fill() {
	held := copy(r.text, r.text[r.ready:])
	if cap(r.text) < held+chunk {
		r.text = append(make([]byte, 0, held+chunk), r.text[:held]...)
	}
	n, err := r.from.Read(r.text[held : held+chunk])
	r.text, r.err = r.text[:held+n], err
	r.node = r.a.mask(r.node, r.text, held)
	r.given, r.ready = 0, len(r.text)-int(r.a.hold[r.node])
	if err != nil {
		r.a.end(r.node, r.text)
		r.ready = len(r.text)
	}
}
