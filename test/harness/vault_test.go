package harness_test

import (
	"encoding/base64"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// A Vault keeps what it holds through a restart, serves nothing while it is sealed, and its roles may do what
// their policies say.
func TestVault(t *testing.T) {
	for _, o := range []harness.VaultOptions{{}, {Persistent: true, CA: harness.NewCA(t)}} {
		v := harness.StartVault(t, o)
		data, control := v.Transit(t, "boxes")
		plaintext := base64.StdEncoding.EncodeToString([]byte("x"))
		if a := v.DoAs(t, v.Login(t, control), "POST", "boxes/keys/one", map[string]any{"type": "aes256-gcm96"}); a.Status >= 300 {
			t.Fatalf("the control role cannot make a key: %d %s", a.Status, a.Body)
		}
		sealed := v.Must(t, "POST", "boxes/encrypt/one", map[string]any{"plaintext": plaintext}).Data(t)["ciphertext"]
		if o.Persistent {
			v.Stop(t)
			v.Start(t)
		}
		v.Seal(t)
		if a := v.Do(t, "GET", "sys/mounts", nil); a.Status != 503 {
			t.Errorf("sealed, it answers %d", a.Status)
		}
		v.Unseal(t)
		opened := v.DoAs(t, v.Login(t, data), "POST", "boxes/decrypt/one", map[string]any{"ciphertext": sealed})
		if opened.Status != 200 || opened.Data(t)["plaintext"] != plaintext {
			t.Errorf("the data role cannot open: %d %s", opened.Status, opened.Body)
		}
		if a := v.DoAs(t, v.Login(t, data), "POST", "boxes/encrypt/one", map[string]any{"plaintext": plaintext}); a.Status != 403 {
			t.Errorf("the data role can seal: %d", a.Status)
		}
	}
}
