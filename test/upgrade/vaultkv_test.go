package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// records is a KV engine of a real Vault, with a path of their own for the records of each sample.
type records struct {
	*harness.Vault
	role harness.AppRole
}

func newRecords(t *testing.T) *records {
	t.Helper()
	r := &records{Vault: harness.StartVault(t, harness.VaultOptions{})}
	r.Mount(t, "secret", "kv-v2")
	harness.Await(t, "the KV engine is ready", 10*time.Second, func() error {
		if a := r.Do(t, "PUT", "secret/data/elsewhere", map[string]any{"data": map[string]any{"a": "1"}}); a.Status != http.StatusOK {
			return errors.New(string(a.Body))
		}
		return nil
	})
	r.Policy(t, "keybearer-kv", harness.DocumentedPolicies(t, "docs/vault-kv.md")["keybearer-kv"])
	r.role = r.AppRole(t, "records", nil, "keybearer-kv")
	return r
}

func (r *records) engine() engine {
	return engine{name: "vaultkv", options: []string{
		fmt.Sprintf("store vault_kv {\naddress %s\nauth approle {\nrole_id %s\nsecret_id_file %s\n}\n}", r.URL, r.role.RoleID, r.role.SecretIDFile),
	}}
}

// dump returns the text of each secret of the store, by name.
func (r *records) dump(t *testing.T) string {
	t.Helper()
	all := map[string]string{}
	for _, name := range r.Must(t, "LIST", "secret/metadata/keybearer", nil).Data(t)["keys"].([]any) {
		data := r.Must(t, "GET", "secret/data/keybearer/"+name.(string), nil).Data(t)["data"].(map[string]any)
		all[name.(string)] = data["text"].(string)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// aStoreInVaultIsOpened opens the samples whose records were in Vault's KV engine: it has no schema that is migrated, and keeps no usage. With KEYBEARER_SAMPLE it
// makes one.
func aStoreInVaultIsOpened(t *testing.T, _ []engine) {
	if name := os.Getenv("KEYBEARER_SAMPLE"); name != "" {
		r, l := newRecords(t), newLab(t)
		k := harness.StartKeybearer(t, harness.KeybearerOptions{Options: l.options(r.engine().options...)})
		s := &teller{t: t, k: k, lab: l, told: newTold(t, k), ledgerless: true}
		s.tell()
		s.record()
		k.Kill()
		keep(t, name, "vaultkv", pack(t, k.Home, r.dump(t), s.told))
		return
	}
	archives, err := filepath.Glob("testdata/*/vaultkv.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("%d samples, %v", len(archives), err)
	}
	for _, path := range archives {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			archive, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r := newRecords(t)
			s := &sample{told: new(told), home: filepath.Join(harness.Dir(t), "home")}
			if err := os.Mkdir(s.home, 0o700); err != nil {
				t.Fatal(err)
			}
			files, secrets := members(t, archive), map[string]string{}
			for name, into := range map[string]any{"told.json": s.told, "dump.json": &secrets} {
				if err := json.Unmarshal(files[name], into); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			by := time.Since(s.Made).Truncate(time.Hour)
			for command, text := range s.Documents {
				s.Documents[command] = later(text, by)
			}
			for name, text := range secrets {
				r.Must(t, "PUT", "secret/data/keybearer/"+name, map[string]any{"data": map[string]any{"text": string(later([]byte(text), by))}})
			}
			for name, text := range files {
				// Without the anchor: that of another Vault.
				if file, ok := strings.CutPrefix(name, "home/"); ok && file != "anchor" {
					harness.WriteFile(t, filepath.Join(s.home, file), text)
				}
			}
			s.audit = files["home/audit.jsonl"]
			u := under(t, r.engine(), newLab(t), s)
			if err := u.TryStart(t); err != nil {
				t.Fatal(err)
			}
			u.same(t)
			if uses := u.again(t); uses < 3 {
				t.Errorf("only %d uses", uses)
			}
			u.goesBack(t)
			u.administers(t)
			u.audited(t)
		})
	}
}
