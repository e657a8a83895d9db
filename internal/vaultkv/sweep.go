package vaultkv

import (
	"context"
	"errors"

	"github.com/keybearer/keybearer/internal/vaultclient"
)

// sweep deletes secrets that the index does not name: what crashed commits wrote, and what they did not come to delete. Only those go that the
// last sweep found as well, so that others' commits are seldom disturbed. It returns false when the role may not do it: then others do.
func (s *Store) sweep() bool {
	ctx, cancel := context.WithTimeout(s.life, loadTimeout)
	defer cancel()
	if err := s.take(ctx); err != nil {
		return true
	}
	defer s.give()
	n, err := s.sweepUnnamed(ctx)
	switch {
	case forbidden(err):
		return false
	case err != nil && !vaultclient.Away(err):
		s.logger.Warn("secrets that the index does not name were not swept from Vault", "error", err)
	case n > 0:
		s.logger.Info("swept what interrupted commits left in Vault", "secrets", n)
	}
	return true
}

// sweepUnnamed returns how many it deleted. The caller has the turn.
func (s *Store) sweepUnnamed(ctx context.Context) (int, error) {
	names, err := s.engine.list(ctx)
	if err != nil {
		return 0, err
	}
	// Read after the names: whatever is among them and not in this index was never in it, is no more, or belongs to a commit that has yet
	// to write the index.
	if err := s.refresh(ctx); err != nil {
		return 0, err
	}
	st := s.state.Load()
	named := st.named()
	unnamed := map[string]bool{}
	var doomed []string
	for _, name := range names {
		if named[name] || !isBucketName(name) {
			continue
		}
		unnamed[name] = true
		if s.unnamed[name] {
			doomed = append(doomed, name)
		}
	}
	s.unnamed = unnamed
	if len(doomed) == 0 {
		return 0, nil
	}
	// From here on no commit that wrote one of them before can write the index.
	if _, err := s.store(ctx, st.draft()); err != nil {
		if errors.Is(err, errConflict) {
			return 0, nil // next time
		}
		return 0, err
	}
	if err := s.engine.destroy(ctx, doomed); err != nil {
		return 0, err
	}
	return len(doomed), nil
}

// named returns the names of all secrets that are in use.
func (s *state) named() map[string]bool {
	named := map[string]bool{indexName: true}
	for _, secret := range s.index.Buckets {
		named[secret] = true
	}
	return named
}
