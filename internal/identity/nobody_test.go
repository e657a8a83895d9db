package identity_test

import (
	"context"

	"github.com/keybearer/keybearer"
)

// nobody knows one caller for whom nothing has to be looked up.
type nobody struct{}

func (nobody) ByName(_ context.Context, name string) (*keybearer.Caller, error) {
	return &keybearer.Caller{ID: "cal_x", Name: name}, nil
}

func (nobody) ByToken(context.Context, keybearer.TokenHash) (*keybearer.Caller, error) {
	return nil, keybearer.NewError(keybearer.CallerUnauthenticated, "")
}
