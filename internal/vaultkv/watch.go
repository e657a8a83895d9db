package vaultkv

import "github.com/keybearer/keybearer"

// Watch registers fn to be told of every commit: of those made through s before Commit returns, of others' once the index has been read
// again. The slice is fn's to keep. Once stop has returned fn is not called again; fn must not call stop.
func (s *Store) Watch(fn func([]keybearer.Change)) (stop func()) { return s.watch.Watch(fn) }
