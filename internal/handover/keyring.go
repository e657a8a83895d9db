package handover

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keybearer/keybearer"
)

// Part is one of two keyrings.
type Part struct {
	keybearer.Keyring
	Kind string // before the first colon of what it seals, "local" or "vault"; "": not known
}

// Keyring is one keyring over the current and the former one. It is safe for concurrent use. The parts stay their owner's to close.
//
// Keys are told apart by name, which no two keyrings give twice, and of each the keyring that has it is remembered. So what the former one
// sealed opens through an outage of the current one, and the other way round.
type Keyring struct {
	current, former *Part

	mu    sync.RWMutex
	sides map[string]*Part // of keys, once known
}

var (
	_ keybearer.OpenOnly  = (*Keyring)(nil)
	_ keybearer.Diagnoser = (*Keyring)(nil)
)

// NewKeyring puts the two together.
func NewKeyring(current, former Part) *Keyring {
	return &Keyring{current: &current, former: &former, sides: map[string]*Part{}}
}

// Current reports whether the key is in the current keyring. It returns [keybearer.NotFound] for a key of neither, and
// [keybearer.KeyringUnavailable] when that cannot be told.
func (k *Keyring) Current(ctx context.Context, key string) (bool, error) {
	p, err := k.at(ctx, key)
	return p == k.current, err
}

func (k *Keyring) side(key string) *Part {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.sides[key]
}

func (k *Keyring) remember(key string, p *Part) {
	if k.side(key) == p {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p == nil {
		delete(k.sides, key)
		return
	}
	k.sides[key] = p
}

// find returns the keyring that has the key, and the key's version. One that is away does not hide what the other has; only when the
// other does not have it either is that an outage.
func (k *Keyring) find(ctx context.Context, key string) (*Part, uint32, error) {
	var outage error
	for _, p := range k.order(k.side(key)) {
		version, err := p.KeyVersion(ctx, key)
		switch {
		case err == nil:
			k.remember(key, p)
			return p, version, nil
		case keybearer.CodeOf(err) != keybearer.NotFound && outage == nil:
			outage = err
		}
	}
	if outage != nil {
		return nil, 0, outage
	}
	k.remember(key, nil)
	return nil, 0, &keybearer.Error{Code: keybearer.NotFound, Op: "find key", Detail: "neither keyring has a key of that name"}
}

// order is in which order the two are asked.
func (k *Keyring) order(first *Part) [2]*Part {
	if first == k.former {
		return [2]*Part{k.former, k.current}
	}
	return [2]*Part{k.current, k.former}
}

// at returns the keyring that is known to have the key, or looks for it. Nothing is tried on a keyring that may not have the key: one that
// makes keys as they are named would have it then.
func (k *Keyring) at(ctx context.Context, key string) (*Part, error) {
	if p := k.side(key); p != nil {
		return p, nil
	}
	p, _, err := k.find(ctx, key)
	return p, err
}

// CreateKey makes a key in the current keyring.
func (k *Keyring) CreateKey(ctx context.Context, key string) error {
	err := k.current.CreateKey(ctx, key)
	if err == nil {
		k.remember(key, k.current)
	}
	return err
}

// KeyVersion implements [keybearer.Keyring].
func (k *Keyring) KeyVersion(ctx context.Context, key string) (uint32, error) {
	_, version, err := k.find(ctx, key)
	return version, err
}

// RotateKey implements [keybearer.Keyring], in whichever keyring has the key.
func (k *Keyring) RotateKey(ctx context.Context, key string) (uint32, error) {
	p, err := k.at(ctx, key)
	if err != nil {
		return 0, err
	}
	return p.RotateKey(ctx, key)
}

// DestroyKey destroys the key in both keyrings, and returns the first error.
func (k *Keyring) DestroyKey(ctx context.Context, key string) error {
	err := k.current.DestroyKey(ctx, key)
	if other := k.former.DestroyKey(ctx, key); err == nil {
		err = other
	}
	if err == nil {
		k.remember(key, nil)
	}
	return err
}

// Seal implements [keybearer.Keyring], in whichever keyring has the key.
func (k *Keyring) Seal(ctx context.Context, key string, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	p, err := k.at(ctx, key)
	if err != nil {
		return nil, err
	}
	return p.Seal(ctx, key, sc, plaintext)
}

// Rewrap implements [keybearer.Keyring], in whichever keyring has the key.
func (k *Keyring) Rewrap(ctx context.Context, key string, items []keybearer.RewrapItem) ([]keybearer.RewrapResult, error) {
	p, err := k.at(ctx, key)
	if keybearer.CodeOf(err) == keybearer.NotFound {
		p, err = k.current, nil // which says so of each item
	}
	if err != nil {
		return nil, err
	}
	return p.Rewrap(ctx, key, items)
}

// Open decrypts with the keyring whose kind of ciphertext it is or, where both are of one kind, with the one that has the key and then
// the other. The error wraps [keybearer.ErrUnopenable] only when all that could have opened it have answered so.
func (k *Keyring) Open(ctx context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	if p := k.only(sealed); p != nil {
		return p.Open(ctx, key, sc, sealed)
	}
	order := k.order(k.side(key))
	first, err := k.try(ctx, order[0], key, sc, sealed)
	if err == nil {
		return first, nil
	}
	plain, other := order[1].Open(ctx, key, sc, sealed)
	if other == nil {
		k.remember(key, order[1])
		return plain, nil
	}
	switch {
	case !errors.Is(err, keybearer.ErrUnopenable):
	case errors.Is(err, keybearer.ErrRefused) && errors.Is(other, keybearer.ErrUnopenable): // which says less for certain
	default:
		err = other
	}
	return nil, err
}

// try opens with the first of two keyrings. It leaves the other one half of the time that there is.
func (k *Keyring) try(ctx context.Context, p *Part, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	plain, err := p.Open(ctx, key, sc, sealed)
	if err == nil {
		k.remember(key, p)
	}
	return plain, err
}

// only returns the one keyring that can have sealed this; nil when both can.
func (k *Keyring) only(sealed []byte) *Part {
	prefix, _, _ := bytes.Cut(sealed, []byte(":"))
	kind := string(prefix)
	if k.current.Kind == "" || k.former.Kind == "" || k.current.Kind == k.former.Kind {
		return nil
	}
	switch kind {
	case k.current.Kind:
		return k.current
	case k.former.Kind:
		return k.former
	}
	return nil
}

// Close does nothing.
func (k *Keyring) Close() error { return nil }

// OpenOnly reports whether the current keyring can only open: then nothing moves in this process.
func (k *Keyring) OpenOnly() bool {
	o, ok := k.current.Keyring.(keybearer.OpenOnly)
	return ok && o.OpenOnly()
}

// Diagnose looks at both keyrings.
func (k *Keyring) Diagnose(ctx context.Context) []keybearer.Finding {
	var all []keybearer.Finding
	if d, ok := k.current.Keyring.(keybearer.Diagnoser); ok {
		all = d.Diagnose(ctx)
	}
	if d, ok := k.former.Keyring.(keybearer.Diagnoser); ok {
		for _, f := range d.Diagnose(ctx) {
			f.Check = "former keyring: " + f.Check
			all = append(all, f)
		}
	}
	return all
}
