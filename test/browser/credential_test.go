package browser

import (
	"fmt"
	"testing"
)

func TestACredentialCreatedInTheBrowserIsSent(t *testing.T) {
	newWorld(t).play("credential_create", nil, nil)
}

func TestTheListOfCredentialsIsSearchedAndFiltered(t *testing.T) {
	w := newWorld(t)
	w.Do(t, "", "scope", "generate-key", "global")
	for i := range 60 {
		w.Do(t, "s3cret", "credential", "create", fmt.Sprintf("global/pay-%02d", i), "--kind", "bearer", "--domain", "pay.example.net")
	}
	w.play("credential_list", nil, nil)
}
