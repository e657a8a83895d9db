package browser

import "testing"

func TestACredentialIsLookedAfterOnItsPage(t *testing.T) {
	w := newWorld(t)
	bo := w.Do(t, "", "operator", "create", "bo")
	w.play("credential_page", map[string]any{"bo": bo}, nil)
}
