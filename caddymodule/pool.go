package caddymodule

import (
	"io"
	"sync"
)

// pool holds what is open by key, each once for all who use it. It opens nothing under a key while that which was there before is still
// being closed, as [caddy.UsagePool] would: a store, a keyring and an audit log hold a lock until they have closed, and a configuration that comes
// back to one just then would be told that it is in use, by its own process. It is safe for concurrent use; the zero value is empty.
type pool struct {
	mu   sync.Mutex
	open map[string]*pooled
}

// pooled is something open, or on its way there or back.
type pooled struct {
	users int           // guarded by the pool; 0: it is being closed
	ready chan struct{} // closed when it has been opened, or could not be
	gone  chan struct{} // closed when it has left the pool
	value io.Closer
	err   error
}

// take returns what is under the key, or what open gives. Who took gives back once. It returns the errors of open, and keeps nothing then.
func (p *pool) take(key string, open func() (io.Closer, error)) (io.Closer, error) {
	for {
		p.mu.Lock()
		v := p.open[key]
		switch {
		case v == nil:
			v = &pooled{users: 1, ready: make(chan struct{}), gone: make(chan struct{})}
			if p.open == nil {
				p.open = map[string]*pooled{}
			}
			p.open[key] = v
			p.mu.Unlock()
			v.value, v.err = open()
			close(v.ready)
			if v.err != nil {
				p.drop(key, v)
			}
			return v.value, v.err
		case v.users > 0:
			v.users++
			p.mu.Unlock()
			<-v.ready
			return v.value, v.err
		}
		p.mu.Unlock()
		<-v.gone
	}
}

// give closes what is under the key once everybody has given it back, and returns then, with the error of its Close.
func (p *pool) give(key string) error {
	p.mu.Lock()
	v := p.open[key]
	v.users--
	last := v.users == 0
	p.mu.Unlock()
	if !last {
		return nil
	}
	defer p.drop(key, v)
	return v.value.Close()
}

func (p *pool) drop(key string, v *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, key)
	close(v.gone)
}

// users returns how many have taken what is under the key.
func (p *pool) users(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.open[key]; v != nil {
		return v.users
	}
	return 0
}

// keys returns all keys, for tests.
func (p *pool) keys() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.open {
		all = append(all, key)
	}
	return all
}
