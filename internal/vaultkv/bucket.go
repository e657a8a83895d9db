package vaultkv

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/keybearer/keybearer"
)

// slots is over how many buckets the records of each kind are spread, by a hash of their ids. It is part of the stored form: another number
// needs another format.
var slots = map[keybearer.RecordKind]uint32{
	keybearer.ScopeRecord:      8,
	keybearer.CredentialRecord: 64,
	keybearer.CallerRecord:     8,
	keybearer.OperatorRecord:   8,
}

// slotOf returns the name of the bucket that a record belongs in.
func slotOf(kind keybearer.RecordKind, id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return string(kind) + "-" + strconv.FormatUint(uint64(h.Sum32()%slots[kind]), 10)
}

// kindOf returns the kind of the records in a slot.
func kindOf(slot string) keybearer.RecordKind {
	kind, _, _ := strings.Cut(slot, "-")
	return keybearer.RecordKind(kind)
}

// newBucketName returns a new name for the secret of a bucket.
func newBucketName(slot string) string { return slot + "-" + strings.ToLower(rand.Text()) }

// isBucketName reports whether a name is of the form that newBucketName gives. What somebody else keeps on the path is none of ours.
func isBucketName(name string) bool {
	parts := strings.Split(name, "-")
	if len(parts) != 3 {
		return false
	}
	slot, err := strconv.ParseUint(parts[1], 10, 32)
	return err == nil && slot < uint64(slots[keybearer.RecordKind(parts[0])]) && len(parts[2]) == len(rand.Text())
}

// bucket holds some records of one kind, by id. It is immutable.
type bucket map[string]*entry

// stored is a record in a bucket's secret.
type stored struct {
	Revision uint64          `json:"revision"`
	Record   json.RawMessage `json:"record"`
}

// encode returns the text of a bucket's secret.
func (b bucket) encode() ([]byte, error) {
	out := make(map[string]stored, len(b))
	for id, e := range b {
		text, err := json.Marshal(e.record)
		if err != nil {
			return nil, err
		}
		out[id] = stored{e.revision, text}
	}
	return json.Marshal(out)
}

// decodeBucket reads what encode wrote.
func decodeBucket(slot string, text []byte) (bucket, error) {
	kind := kindOf(slot)
	if slots[kind] == 0 {
		return nil, fmt.Errorf("bucket %q holds an unknown kind of record", slot)
	}
	var in map[string]stored
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("bucket %q: %w", slot, err)
	}
	b := make(bucket, len(in))
	for id, s := range in {
		e, err := newEntry(kind, s.Record, s.Revision)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", id, err)
		}
		if e.id != id || e.revision == 0 || slotOf(kind, id) != slot {
			return nil, fmt.Errorf("record %s does not belong in bucket %q", id, slot)
		}
		b[id] = e
	}
	return b, nil
}
