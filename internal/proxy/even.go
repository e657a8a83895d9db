package proxy

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
)

// forbidTime is how long it takes to forbid: more than any way to that answer takes by itself. What is known from before is found in a
// microsecond, and what nobody has asked for takes a look into the store; so the time would tell whether others use a credential of that name.
const forbidTime = 10 * time.Millisecond

// even has every way to [keybearer.CredentialForbidden] take the same time from the moment that the request began: forbidTime, or as many times
// that as it took. Any other answer is given at once.
func even(ctx context.Context, began time.Time, err *keybearer.Error) {
	if err.Code != keybearer.CredentialForbidden {
		return
	}
	timer := time.NewTimer(forbidTime - time.Since(began)%forbidTime)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
