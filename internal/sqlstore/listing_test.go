package sqlstore_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// older returns how many files of the schema come before the one with that number, and their names.
func older(t *testing.T, dir, number string) []string {
	t.Helper()
	entries, err := os.ReadDir("schema/" + dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() < number {
			names = append(names, "schema/"+dir+"/"+e.Name())
		}
	}
	return names
}

// seenBy returns the names of what the subjects may see.
func seenBy(t *testing.T, s *sqlstore.Store, subjects ...keybearer.Subject) string {
	t.Helper()
	var names []string
	for _, c := range must(s.Credentials(t.Context(), keybearer.Query{Sight: &keybearer.Sight{Subjects: subjects}}))(t).Items {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func wantSeen(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	for _, c := range []struct {
		subjects []keybearer.Subject
		want     string
	}{
		{[]keybearer.Subject{"group:staff"}, "two"},
		{[]keybearer.Subject{"user:ada"}, "three two"},
		{[]keybearer.Subject{"app:billing", "user:eve"}, ""},
	} {
		if got := seenBy(t, s, c.subjects...); got != c.want {
			t.Errorf("%s see %q, want %q", c.subjects, got, c.want)
		}
	}
}

// formerRecords are credentials as an older version stored them, with the column subjects of that time.
var formerRecords = []struct{ name, subjects, grants string }{
	{"none", "\n", `null`},
	{"one", "\napp:billing\ngroup:staff\n", `[{"subject":"app:billing","level":"use"},{"subject":"group:staff","level":"use"}]`},
	{"three", "\nuser:ada\n", `[{"subject":"user:ada","level":"administer"}]`},
	{"two", "\napp:billing\ngroup:staff\nuser:ada\n", `[{"subject":"app:billing","level":"use"},{"subject":"group:staff","level":"view"},{"subject":"user:ada","level":"edit"}]`},
}

// What an older version stored is found by those who may see it.
func TestAnOlderFileTellsWhoMaySeeWhat(t *testing.T) {
	_, path := home(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := older(t, "sqlite", "0008")
	sqlite(t, path, "PRAGMA application_id = 1264941410") // "Keyb"
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sqlite(t, path, string(text))
		if i == 0 {
			sqlite(t, path, "INSERT INTO scopes VALUES ('scp_x', 'docs', 0, 'docs', 1, '{\"id\":\"scp_x\",\"name\":\"docs\"}')")
			for _, c := range formerRecords {
				sqlite(t, path, "INSERT INTO credentials VALUES ('crd_"+c.name+"', 'scp_x', 'docs', '"+c.name+"', 0, 'bearer', '"+c.subjects+"', '"+c.name+"', 1, '"+
					`{"id":"crd_`+c.name+`","name":"`+c.name+`","scope_id":"scp_x","grants":`+c.grants+"}')")
			}
		}
	}
	sqlite(t, path, "PRAGMA user_version = "+string('0'+rune(len(files))))
	wantSeen(t, openAt(t, path))
}

// The same of tables in PostgreSQL; and what a node of an older version still writes there counts by its record.
func TestOlderTablesTellWhoMaySeeWhat(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	db := database(t, dsn)
	files := older(t, "postgres", "0007")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, db, string(text))
	}
	execute(t, db, `CREATE TABLE keybearer_schema (version INTEGER NOT NULL)`)
	execute(t, db, `INSERT INTO keybearer_schema VALUES ($1)`, len(files))
	execute(t, db, `INSERT INTO scopes VALUES ('scp_x', 'docs', 0, 'docs', 1, '{"id":"scp_x","name":"docs"}')`)
	put := func(id, name, subjects, grants string) {
		execute(t, db, `INSERT INTO credentials VALUES ($1, 'scp_x', 'docs', $2, 0, 'bearer', $3, $2, 1, $4)
			ON CONFLICT (id) DO UPDATE SET subjects = excluded.subjects, record = excluded.record`,
			id, name, subjects, `{"id":"`+id+`","name":"`+name+`","scope_id":"scp_x","grants":`+grants+`}`)
	}
	for _, c := range formerRecords {
		put("crd_"+c.name, c.name, c.subjects, c.grants)
	}
	s := openPostgres(t, dsn, "a").Store
	wantSeen(t, s)
	put("crd_two", "two", "\nuser:eve\n", `[{"subject":"user:eve","level":"view"}]`)
	if got := seenBy(t, s, "user:eve"); got != "two" {
		t.Errorf("after an older node's change eve sees %q", got)
	}
	if got := seenBy(t, s, "group:staff"); got != "" {
		t.Errorf("after an older node's change staff sees %q", got)
	}
}

// A search of PostgreSQL reads the narrow table, and of the records only those that it shows.
func TestASearchReadsTheRecordsThatItShows(t *testing.T) {
	t.Parallel()
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	s := openPostgres(t, dsn, "a").Store
	const n = 2000
	scopes := fill(t, s, n)
	db := database(t, dsn)
	execute(t, db, "ANALYZE credentials, listings")
	for what, c := range map[string]struct {
		query keybearer.Query
		shown float64
	}{
		"no match":       {keybearer.Query{Text: "no such thing"}, 0},
		"one match":      {keybearer.Query{Text: "service-0001999"}, 1},
		"many":           {keybearer.Query{Text: "example.com"}, 11},
		"in a scope":     {keybearer.Query{Text: "no such thing", ScopeID: scopes[3].ID}, 0},
		"kind":           {keybearer.Query{Kind: keybearer.Basic}, 0},
		"two to be seen": {keybearer.Query{Sight: &keybearer.Sight{Subjects: []keybearer.Subject{"user:ada", "app:app-7"}}}, 0}, // use is not enough
		"a scope's":      {keybearer.Query{Sight: &keybearer.Sight{ScopeIDs: []string{scopes[2].ID}}}, 11},
		"nothing at all": {keybearer.Query{Sight: new(keybearer.Sight)}, 0},
	} {
		text, args, err := s.CredentialsText(c.query)
		if err != nil {
			t.Fatal(err)
		}
		var plan string
		if err := db.QueryRowContext(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+text, args...).Scan(&plan); err != nil {
			t.Fatal(what, err)
		}
		if read := recordsRead(t, plan); read > c.shown {
			t.Errorf("%s: %v records were read to show %v:\n%s", what, read, c.shown, plan)
		}
	}
}

// recordsRead counts the rows of credentials that a plan looked at.
func recordsRead(t *testing.T, plan string) (rows float64) {
	t.Helper()
	var parsed []map[string]any
	if err := json.Unmarshal([]byte(plan), &parsed); err != nil {
		t.Fatal(err)
	}
	met := []string{}
	var walk func(node map[string]any)
	walk = func(node map[string]any) {
		if name, ok := node["Relation Name"].(string); ok {
			met = append(met, name)
			if name == "credentials" {
				removed, _ := node["Rows Removed by Filter"].(float64)
				rows += (node["Actual Rows"].(float64) + removed) * node["Actual Loops"].(float64)
			}
		}
		children, _ := node["Plans"].([]any)
		for _, child := range children {
			walk(child.(map[string]any))
		}
	}
	walk(parsed[0]["Plan"].(map[string]any))
	if !slices.Contains(met, "listings") && !strings.Contains(plan, "One-Time Filter") {
		t.Errorf("the plan does not read listings:\n%s", plan)
	}
	return rows
}
