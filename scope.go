package keybearer

import (
	"slices"
	"time"
)

// Scope holds credentials and has one scope key. Records that came from a Store are shared and must not
// be modified; Clone first.
type Scope struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Key         *ScopeKey  `json:"key,omitempty"`       // nil until generated
	Former      *ScopeKey  `json:"former,omitempty"`    // while secrets move to Key: the one that still opens the others
	Generation  uint32     `json:"generation"`          // of the last key made, present or not; never goes back
	Work        *ScopeWork `json:"work,omitempty"`      // journal of an unfinished rotate, regenerate, move or delete
	DoomedKeys  []string   `json:"doomed,omitempty"`    // keyring keys still to be destroyed; "former/" before those in the former keyring
	CreatedAt   time.Time  `json:"created_at"`          //
	UpdatedAt   time.Time  `json:"updated_at"`          //
	DeletedAt   time.Time  `json:"deleted_at,omitzero"` // its name stays reserved
	Revision    uint64     `json:"-"`                   // as in Credential
}

// ScopeKey is what the store knows of a scope's key. Share never leaves the server.
type ScopeKey struct {
	Name       string    `json:"name"` // in the keyring: a new name for each generation
	Generation uint32    `json:"generation"`
	Version    uint32    `json:"version"` // latest, grows with each rotation
	Share      []byte    `json:"share"`   // 32 random bytes that take part in every ciphertext; forgotten at regenerate
	CreatedAt  time.Time `json:"created_at"`
	RotatedAt  time.Time `json:"rotated_at,omitzero"`
}

// WorkKind is a long operation on a scope.
type WorkKind string

// The long operations.
const (
	WorkRotate     WorkKind = "rotate"
	WorkRegenerate WorkKind = "regenerate"
	WorkDelete     WorkKind = "delete"
	WorkMove       WorkKind = "move" // every secret is opened with Former and sealed with Key
)

// ScopeWork is the journal of a long operation. While one of regenerate or delete is present the scope's credentials are
// refused with [ScopeRegenerating]; a rotation or a move never stops use.
type ScopeWork struct {
	Kind       WorkKind  `json:"kind"`
	Cursor     string    `json:"cursor,omitempty"` // last credential id done
	Done       int       `json:"done"`
	Total      int       `json:"total"`
	KeepShells bool      `json:"keep_shells,omitempty"` // regenerate: credentials stay, needing a secret
	By         Subject   `json:"by"`
	StartedAt  time.Time `json:"started_at"`
}

// Clone returns a deep copy.
func (s *Scope) Clone() *Scope {
	d := *s
	d.Key, d.Former = s.Key.clone(), s.Former.clone()
	if s.Work != nil {
		w := *s.Work
		d.Work = &w
	}
	d.DoomedKeys = slices.Clone(s.DoomedKeys)
	return &d
}

func (k *ScopeKey) clone() *ScopeKey {
	if k == nil {
		return nil
	}
	c := *k
	c.Share = slices.Clone(k.Share)
	return &c
}

// KeyOf returns the key of that generation: the scope's, or the former one while secrets move. Nil: what was sealed in that
// generation opens no more.
func (s *Scope) KeyOf(generation uint32) *ScopeKey {
	for _, k := range []*ScopeKey{s.Key, s.Former} {
		if k != nil && k.Generation == generation {
			return k
		}
	}
	return nil
}

// Regenerating reports whether the scope's credentials must be refused for the time being.
func (s *Scope) Regenerating() bool {
	return s.Work != nil && (s.Work.Kind == WorkRegenerate || s.Work.Kind == WorkDelete)
}
