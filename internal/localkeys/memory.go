package localkeys

import "sync"

// memory is where the keys of all keyrings of this process lie: apart from Go's heap, which may be copied, swapped out and dumped. A
// slot is cleared before it is given out again; pages are never given back, so that nothing can point to what is not there.
var memory pool

const slotSize = 32

// pool is memory for keys. The zero value has none yet; it is safe for concurrent use.
type pool struct {
	mu       sync.Mutex
	free     []*[slotSize]byte
	inUse    int
	unlocked error // why pages could not be locked; nil: they all are
}

// take returns a cleared slot.
func (p *pool) take() *[slotSize]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		page, err := newPage()
		if p.unlocked == nil {
			p.unlocked = err
		}
		for len(page) >= slotSize {
			p.free = append(p.free, (*[slotSize]byte)(page))
			page = page[slotSize:]
		}
	}
	last := len(p.free) - 1
	slot := p.free[last]
	p.free = p.free[:last]
	p.inUse++
	return slot
}

// give clears a slot and takes it back.
func (p *pool) give(slot *[slotSize]byte) {
	clear(slot[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, slot)
	p.inUse--
}

func (p *pool) state() (inUse int, unlocked error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse, p.unlocked
}
