package upgrade

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/keybearer/keybearer/test/harness"
)

// told is what the binary of a sample told of it, and what the story knows: told.json in the sample.
type told struct {
	Version   string                     `json:"version"`
	Made      time.Time                  `json:"made"`
	Tokens    map[string]string          `json:"tokens"`   // by caller or operator
	Sendings  []sending                  `json:"sendings"` // in the order of the story
	Documents map[string]json.RawMessage `json:"documents"`
	Untold    []string                   `json:"untold,omitempty"` // parts of the story that the binary did not know
}

// documents are the commands whose output is kept: each prints records as JSON.
var documents = []string{
	"scope list --deleted", "credential list --deleted", "caller list --deleted", "operator list --deleted",
	"credential show docs/crm", "grant list docs/crm", "domain list docs/legacy", "scope show old",
	"domain trial docs/trial", "usage docs/crm --since 7d", "export", // later than the first schema
}

// busyCredentials are in the scope whose rotation is interrupted.
const busyCredentials = 6

// teller tells the story to a server.
type teller struct {
	t    *testing.T
	k    *harness.Keybearer
	lab  *lab
	told *told

	ledgerless bool // the store keeps no usage
}

// do runs a command, ␣ in it standing for a blank within an argument, and returns what it printed.
func (s *teller) do(stdin, command string) string {
	s.t.Helper()
	return s.k.Do(s.t, stdin, words(command)...)
}

// may is do for what is newer than the first schema: a binary that does not know it (exit code 2) leaves it out.
func (s *teller) may(stdin, command string) bool {
	s.t.Helper()
	r := s.k.CLI(s.t, stdin, words(command)...)
	switch r.Code {
	case 0:
		return true
	case 2:
		s.told.Untold = append(s.told.Untold, command)
		return false
	}
	s.t.Fatalf("keybearer %s: exit code %d\n%s%s", command, r.Code, r.Stdout, r.Stderr)
	return false
}

func words(command string) []string {
	all := strings.Fields(command)
	for i := range all {
		all[i] = strings.ReplaceAll(all[i], "␣", " ")
	}
	return all
}

// send lets an app ask now, and whoever opens the sample later.
func (s *teller) send(caller, credential, method, url, field, value, code string) {
	s.t.Helper()
	x := sending{caller, credential, method, url, field, value, code}
	s.lab.send(s.t, s.k, s.told.Tokens[caller], x)
	s.told.Sendings = append(s.told.Sendings, x)
}

func (s *teller) bearer(credential, value string) {
	s.t.Helper()
	s.send("billing", credential, "POST", "http://api.example.com/hook?a=b", "Authorization", "Bearer "+value, "")
}

// tell fills the server: each kind of record in each state that it can be in. It may grow; what stands here stays.
func (s *teller) tell() {
	s.t.Helper()
	const api = " --domain api.example.com --private"
	s.do("", "scope generate-key global")
	for _, scope := range []string{"docs", "ops", "old", "shells", "busy", "gone"} {
		s.do("", "scope create "+scope+" --description The␣scope␣"+scope)
		s.do("", "scope generate-key "+scope)
	}
	s.do("", "scope create bare")
	for _, caller := range []string{"billing --scope docs --scope ops --scope old --scope shells --scope busy", "nightly --scope docs", "quiet --scope docs", "left --scope docs"} {
		name, _, _ := strings.Cut(caller, " ")
		s.told.Tokens[name] = s.do("", "caller create "+caller)
	}
	s.do("", "caller create worker --no-token --description proves␣itself␣otherwise")
	s.told.Tokens["nightly revoked"] = s.told.Tokens["nightly"]
	s.told.Tokens["nightly"] = s.do("", "caller token rotate nightly")
	s.told.Tokens["nightly second"] = s.do("", "caller token add nightly")
	if s.may("", "caller create careful --scope docs --rate 100/m --burst 20 --concurrency 5") {
		s.do("", "caller create ending --scope docs --expires 90d")
	}
	s.told.Tokens["ada"] = s.do("", "operator create ada --role instance-admin --group ops --description Ada␣L.")
	s.told.Tokens["bob"] = s.do("", "operator create bob --role scope-admin:docs --group ops --group night")
	s.do("", "operator create carol --no-token")
	s.told.Tokens["dave"] = s.do("", "operator create dave")
	s.do("", "operator revoke dave")
	s.do("", "operator disable carol")

	s.do("crm-first", "credential create docs/crm --kind bearer --description The␣CRM"+api)
	s.do("crm-second", "credential set-secret docs/crm")
	s.do("aws", "credential create docs/aws --kind header --header X-Api-Key --prefix Token␣ --expires 2099-01-31"+api)
	s.do("user\npass", "credential create docs/legacy --kind basic --private --methods POST,PUT --domain https://*.example.com:8443/hooks")
	s.do("first", "credential create docs/rolled --kind bearer"+api)
	s.do("second", "credential set-secret docs/rolled")
	s.do("", "credential rollback docs/rolled")
	s.do("wide", "credential create docs/wide --kind bearer"+api)
	s.do("wider", "domain add docs/wide hooks.example.com --private")
	s.do("", "domain remove docs/wide api.example.com")
	s.do("off", "credential create docs/off --kind bearer"+api)
	s.do("back", "credential create docs/back --kind bearer"+api)
	s.do("dead", "credential create docs/dead --kind bearer"+api)
	s.do("person", "credential create docs/person --kind bearer --require-user"+api)
	s.do("odd", "credential create docs/odd --kind bearer --pass-cookies --pass-trace --websocket"+api)
	s.do("unused", "credential create docs/unused --kind bearer")
	s.do("slack", "credential create global/slack --kind bearer"+api)
	s.do("pager", "credential create ops/pager --kind bearer"+api)
	s.do("lost", "credential create old/lost --kind bearer"+api)
	s.do("shell", "credential create shells/shell --kind bearer"+api)
	s.do("gone", "credential create gone/gone --kind bearer"+api)
	s.do("crash", "credential create docs/crash --kind bearer"+api)
	for i := range busyCredentials {
		s.do(fmt.Sprintf("busy-%d", i), fmt.Sprintf("credential create busy/c%d --kind bearer"+api, i))
	}
	s.may("", "credential create docs/waiting --kind bearer --no-secret"+api)
	s.may("scrub", "credential create docs/scrub --kind bearer --scrub-body"+api)
	s.do("trial", "credential create docs/trial --kind bearer"+api)
	s.may("", "domain try docs/trial api.example.com/v1 --private")
	for _, ref := range []string{
		"docs/crm", "docs/aws", "docs/legacy", "docs/rolled", "docs/wide", "docs/off", "docs/back", "docs/dead", "docs/person", "docs/odd", "docs/trial", "docs/crash",
		"global/slack", "ops/pager", "old/lost", "shells/shell",
	} {
		s.do("", "grant add "+ref+" app:billing use")
	}
	for i := range busyCredentials {
		s.do("", fmt.Sprintf("grant add busy/c%d app:billing use", i))
	}
	s.do("", "grant add docs/crm app:nightly view")
	s.do("", "grant add docs/crm user:bob edit")
	s.do("", "grant add docs/crm group:ops administer")
	s.do("", "grant add docs/off app:nightly use")
	s.do("", "grant add docs/off app:quiet use")
	s.do("", "grant remove docs/off app:nightly")

	s.do("", "scope rotate-key ops")
	s.do("late", "credential create ops/late --kind bearer"+api)
	s.do("", "grant add ops/late app:billing use")
	s.do("", "scope regenerate-key old --confirm old --expected-credentials 1")
	s.do("anew", "credential create old/anew --kind bearer"+api)
	s.do("", "grant add old/anew app:billing use")
	s.do("", "scope regenerate-key shells --confirm shells --expected-credentials 1 --keep-shells")
	s.do("", "credential delete gone/gone --force")
	s.do("", "scope delete gone --confirm gone --expected-credentials 1")

	s.bearer("docs/crm", "crm-second")
	s.bearer("docs/crm", "crm-second")
	s.send("billing", "docs/aws", "GET", "http://api.example.com/", "X-Api-Key", "Token aws", "")
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass"))
	s.send("billing", "docs/legacy", "PUT", "http://hooks.example.com:8443/hooks/1", "Authorization", basic, "")
	s.send("billing", "docs/legacy", "GET", "http://hooks.example.com:8443/hooks/1", "", "", "method_not_allowed")
	s.bearer("docs/rolled", "first")
	s.send("billing", "docs/wide", "GET", "http://hooks.example.com/", "Authorization", "Bearer wider", "")
	s.send("billing", "docs/wide", "GET", "http://api.example.com/", "", "", "destination_not_allowed")
	s.bearer("docs/back", "back")
	s.bearer("docs/odd", "odd")
	s.bearer("docs/trial", "trial")
	s.bearer("global/slack", "slack")
	s.bearer("ops/pager", "pager")
	s.bearer("ops/late", "late")
	s.bearer("old/anew", "anew")
	for i := range busyCredentials {
		s.bearer(fmt.Sprintf("busy/c%d", i), fmt.Sprintf("busy-%d", i))
	}
	s.send("billing", "docs/crm", "GET", "http://other.example.com/", "", "", "destination_not_allowed")
	s.send("billing", "docs/person", "GET", "http://api.example.com/", "", "", "user_required")
	s.send("billing", "docs/unused", "GET", "http://api.example.com/", "", "", "credential_forbidden")
	s.send("billing", "shells/shell", "GET", "http://api.example.com/", "", "", "credential_needs_secret")
	s.send("nightly", "docs/crm", "GET", "http://api.example.com/", "Authorization", "Bearer crm-second", "") // who may view may use
	s.send("nightly", "docs/aws", "GET", "http://api.example.com/", "", "", "credential_forbidden")
	s.send("nightly second", "docs/off", "GET", "http://api.example.com/", "", "", "credential_forbidden")
	s.send("nightly revoked", "docs/crm", "GET", "http://api.example.com/", "", "", "caller_unauthenticated")

	s.do("", "credential disable docs/off")
	s.do("", "caller disable quiet")
	s.do("", "caller delete left")
	s.do("", "credential delete docs/back --force")
	s.do("", "credential restore docs/back")
	s.do("", "credential delete docs/dead --force")
	s.send("billing", "docs/off", "GET", "http://api.example.com/", "", "", "credential_disabled")
	s.send("billing", "docs/back", "GET", "http://api.example.com/", "Authorization", "Bearer back", "")
	s.send("billing", "docs/dead", "GET", "http://api.example.com/", "", "", "credential_forbidden")
	s.send("quiet", "docs/off", "GET", "http://api.example.com/", "", "", "caller_unauthenticated")
}

// counted returns how many sendings of a credential were refused, or were not. A refusal that tells nothing counts for no credential.
func (s *teller) counted(credential string, refused bool) (n int) {
	for _, x := range s.told.Sendings {
		if x.Credential == credential && (x.Code != "") == refused && x.Code != "caller_unauthenticated" {
			n++
		}
	}
	return n
}

// record waits until the ledger knows of all that was sent, and keeps what the binary tells of its records.
func (s *teller) record() {
	s.t.Helper()
	harness.Await(s.t, "every use is counted", 30*time.Second, func() error {
		if s.ledgerless {
			return nil
		}
		var c struct{ Usage struct{ Count, Refused int } }
		// The last use and, after it, the last refusal that the ledger has to know of.
		for credential, field := range map[string]*int{"docs/back": &c.Usage.Count, "docs/off": &c.Usage.Refused} {
			err := json.Unmarshal([]byte(s.do("", "credential show "+credential+" -o json")), &c)
			if want := s.counted(credential, field == &c.Usage.Refused); err != nil || *field != want {
				return fmt.Errorf("%s: %d of %d: %v", credential, *field, want, err)
			}
		}
		return nil
	})
	for _, command := range documents {
		if s.ledgerless && strings.HasPrefix(command, "usage") {
			continue
		}
		r := s.k.CLI(s.t, "", append(words(command), "-o", "json")...)
		switch r.Code {
		case 0:
			s.told.Documents[command] = json.RawMessage(r.Stdout)
		case 2, 3: // it does not know the command, or made no such record
			s.told.Untold = append(s.told.Untold, command)
		default:
			s.t.Fatalf("%s: exit code %d: %s", command, r.Code, r.Stderr)
		}
	}
}

// crash kills the server while a request is under way and a scope's key is half rotated. db is its store; hold stops whoever writes into it.
func (s *teller) crash(db *sql.DB, hold string) {
	t := s.t
	t.Helper()
	go func() {
		_, _, _ = ask(t, s.k, s.told.Tokens["billing"], "", sending{Credential: "docs/crash", Method: "GET", URL: "http://api.example.com/hang"}) // it dies with the server
	}()
	select {
	case <-s.lab.hung:
	case <-time.After(30 * time.Second):
		t.Fatal("the last request does not arrive")
	}
	for range 50 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.k.CLI(t, "", "scope", "rotate-key", "busy") // fails when it is killed
		}()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			default:
			}
			if !underWay(t, db) {
				continue
			}
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.ExecContext(t.Context(), hold); err == nil && underWay(t, conn) {
				s.k.Kill()
				_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
				_ = conn.Close()
				<-ended
				return
			}
			_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
			_ = conn.Close()
		}
	}
	t.Fatal("no rotation was met on its way")
}

// underWay reports whether the journal of a rotation stands in the scope's record.
func underWay(t *testing.T, db interface {
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
},
) bool {
	t.Helper()
	var record string
	if err := db.QueryRowContext(t.Context(), "SELECT record FROM scopes WHERE name = 'busy'").Scan(&record); err != nil {
		return false // it is being written
	}
	return strings.Contains(record, `"work"`)
}

// aSampleCanBeMade tells the story to today's binary, crashes it and opens what it left. KEYBEARER_SAMPLE keeps it as the sample of that
// name; make sample sets it.
func aSampleCanBeMade(t *testing.T, all []engine) {
	name := os.Getenv("KEYBEARER_SAMPLE")
	for _, e := range all {
		if stores := cmp.Or(os.Getenv("KEYBEARER_SAMPLE_STORES"), "sqlite,postgres"); name == "" && e.server != nil || !strings.Contains(stores, e.name) {
			continue // told to one of them is proof enough that it can be told; and the first schema knew SQLite only
		}
		t.Run(e.name, func(t *testing.T) {
			l := newLab(t)
			dsn := e.database(t)
			k := harness.NewKeybearer(t, harness.KeybearerOptions{Options: l.options(e.options...), Env: []string{"KEYBEARER_DSN=" + dsn}})
			if err := k.TryStart(t); err != nil {
				t.Fatal(err)
			}
			s := &teller{t: t, k: k, lab: l, told: newTold(t, k)}
			s.tell()
			s.record()
			db := e.connect(t, k.Home, dsn)
			defer db.Close() // not before: SQLite would tidy up what the crash left
			s.crash(db, e.hold)
			archive := pack(t, k.Home, e.dump(t, dsn), s.told)
			if name != "" {
				keep(t, name, e.name, archive)
				t.Logf("version %s; left out: %s", s.told.Version, strings.Join(s.told.Untold, "; "))
				return
			}
			if len(s.told.Untold) > 0 {
				t.Errorf("today's binary does not know %q", s.told.Untold)
			}
			if !bytes.Equal(archive, pack(t, k.Home, e.dump(t, dsn), s.told)) {
				t.Error("the same home is packed into something else the second time")
			}
			opened(t, e, l, unpack(t, e, archive))
		})
	}
}

// newTold asks a server's binary for its version; nothing else is told yet.
func newTold(t *testing.T, k *harness.Keybearer) *told {
	t.Helper()
	var version struct{ Keybearer string }
	if err := json.Unmarshal([]byte(k.Do(t, "", "version", "-o", "json")), &version); err != nil {
		t.Fatal(err)
	}
	return &told{
		Version: version.Keybearer, Made: time.Now().UTC().Truncate(time.Second), Tokens: map[string]string{}, Documents: map[string]json.RawMessage{},
	}
}

// keep writes a sample to where the tests find it.
func keep(t *testing.T, name, store string, archive []byte) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, store+".tar.gz")
	if err := os.WriteFile(path, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes", path, len(archive))
}
