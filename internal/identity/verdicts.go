package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"
)

// verdict is what was found about a client certificate and those sent with it.
type verdict struct {
	caller      string // name
	err         error
	from, until time.Time // of requests that it is about
	made        time.Time
}

// verdictLife is how long a verdict serves, so that a request costs no signature check.
const verdictLife = 10 * time.Second

// refusal is the verdict on certificates that prove nobody, for requests from at on.
func refusal(err error, at time.Time) verdict {
	return verdict{err: err, from: at, until: at.Add(verdictLife)}
}

// verdicts remembers verdicts by a hash of the certificates. Anybody can make certificates that prove nothing, so those have a room of their own, and
// cannot push out the others. A full room is emptied. The zero value is empty; it is safe for concurrent use.
type verdicts struct {
	mu     sync.RWMutex
	proven map[[sha256.Size]byte]verdict
	others map[[sha256.Size]byte]verdict
}

const (
	maxProven = 1 << 14
	maxOthers = 1 << 10
)

// hashOf tells apart what a client presented. DER says its own length, so the certificates need nothing between them.
func hashOf(certs []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range certs {
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

// get returns the verdict for a request that was received at that time.
func (v *verdicts) get(key [sha256.Size]byte, at, now time.Time) (verdict, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, room := range []map[[sha256.Size]byte]verdict{v.proven, v.others} {
		found := room[key] // one that is not there was made at the zero time
		if now.Sub(found.made) < verdictLife && !at.Before(found.from) && !at.After(found.until) {
			return found, true
		}
	}
	return verdict{}, false
}

func (v *verdicts) put(key [sha256.Size]byte, found verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	room, most := &v.proven, maxProven
	if found.err != nil {
		room, most = &v.others, maxOthers
	}
	if *room == nil || len(*room) >= most {
		*room = make(map[[sha256.Size]byte]verdict)
	}
	(*room)[key] = found
}
