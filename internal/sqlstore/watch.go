package sqlstore

import "github.com/keybearer/keybearer"

// Watch registers fn to be told of every commit made through s, before that Commit returns. The slice is fn's to keep.
// Once stop has returned fn is not called again; fn must not call stop.
func (s *Store) Watch(fn func([]keybearer.Change)) (stop func()) { return s.watch.Watch(fn) }
