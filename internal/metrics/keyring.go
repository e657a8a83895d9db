package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keybearer/keybearer"
)

// Keyring returns k with its operations counted. Closing it closes k. What k can do beyond a [keybearer.Keyring] it can too.
func (m *Meter) Keyring(k keybearer.Keyring) keybearer.Keyring {
	if m == nil {
		return k
	}
	g := &keyring{Keyring: k, m: m}
	for op := range operations {
		g.times[op] = m.keyTimes.WithLabelValues(operationNames[op])
		g.well[op] = m.keyring.WithLabelValues(operationNames[op], OK)
	}
	return g
}

// operation is one of a keyring.
type operation int

const (
	createKey operation = iota
	keyVersion
	rotateKey
	destroyKey
	seal
	open
	rewrap
	operations
)

var operationNames = [operations]string{"create_key", "key_version", "rotate_key", "destroy_key", "seal", "open", "rewrap"}

// keyring counts the operations of another one.
type keyring struct {
	keybearer.Keyring
	m     *Meter
	times [operations]prometheus.Observer
	well  [operations]prometheus.Counter
}

// count counts an operation that has ended. Not to find a key that was asked for is no failure of the keyring.
func (k *keyring) count(op operation, began time.Time, err error) {
	k.times[op].Observe(time.Since(began).Seconds())
	if code := keybearer.CodeOf(err); err != nil && (op != keyVersion || code != keybearer.NotFound) {
		k.m.keyring.WithLabelValues(operationNames[op], string(code)).Inc()
		return
	}
	k.well[op].Inc()
}

// CreateKey implements [keybearer.Keyring].
func (k *keyring) CreateKey(ctx context.Context, key string) error {
	began := time.Now()
	err := k.Keyring.CreateKey(ctx, key)
	k.count(createKey, began, err)
	return err
}

// KeyVersion implements [keybearer.Keyring].
func (k *keyring) KeyVersion(ctx context.Context, key string) (uint32, error) {
	began := time.Now()
	version, err := k.Keyring.KeyVersion(ctx, key)
	k.count(keyVersion, began, err)
	return version, err
}

// RotateKey implements [keybearer.Keyring].
func (k *keyring) RotateKey(ctx context.Context, key string) (uint32, error) {
	began := time.Now()
	version, err := k.Keyring.RotateKey(ctx, key)
	k.count(rotateKey, began, err)
	return version, err
}

// DestroyKey implements [keybearer.Keyring].
func (k *keyring) DestroyKey(ctx context.Context, key string) error {
	began := time.Now()
	err := k.Keyring.DestroyKey(ctx, key)
	k.count(destroyKey, began, err)
	return err
}

// Seal implements [keybearer.Keyring].
func (k *keyring) Seal(ctx context.Context, key string, sc keybearer.SealContext, plaintext []byte) ([]byte, error) {
	began := time.Now()
	sealed, err := k.Keyring.Seal(ctx, key, sc, plaintext)
	k.count(seal, began, err)
	return sealed, err
}

// Open implements [keybearer.Keyring].
func (k *keyring) Open(ctx context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	began := time.Now()
	plaintext, err := k.Keyring.Open(ctx, key, sc, sealed)
	k.count(open, began, err)
	return plaintext, err
}

// Rewrap implements [keybearer.Keyring]. It counts as one operation.
func (k *keyring) Rewrap(ctx context.Context, key string, items []keybearer.RewrapItem) ([]keybearer.RewrapResult, error) {
	began := time.Now()
	results, err := k.Keyring.Rewrap(ctx, key, items)
	k.count(rewrap, began, err)
	return results, err
}

// OpenOnly implements [keybearer.OpenOnly].
func (k *keyring) OpenOnly() bool {
	o, ok := k.Keyring.(keybearer.OpenOnly)
	return ok && o.OpenOnly()
}

// Diagnose implements [keybearer.Diagnoser].
func (k *keyring) Diagnose(ctx context.Context) []keybearer.Finding {
	if d, ok := k.Keyring.(keybearer.Diagnoser); ok {
		return d.Diagnose(ctx)
	}
	return nil
}

// Interface guards.
var (
	_ keybearer.OpenOnly  = (*keyring)(nil)
	_ keybearer.Diagnoser = (*keyring)(nil)
)
