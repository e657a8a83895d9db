package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Whatever shows or makes something does it in each of the four formats, and yaml says what json does.
func TestEveryFormat(t *testing.T) {
	home := stockedHome(t, stocked)
	server, err := startServer(t.Context(), home, socketOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Stop() }()
	for _, line := range []string{
		"scope list", "scope show docs", "scope create new-FORMAT", "scope generate-key new-FORMAT",
		"credential list", "credential show docs/crm", "credential create docs/new-FORMAT --kind bearer --no-secret --domain api.example.com", "credential history docs/crm -n 1",
		"grant list docs/crm", "grant show docs/crm app:billing", "grant add docs/crm app:billing use",
		"domain list docs/crm", "domain show docs/crm api.example.com", "domain explain api.example.com", "domain try docs/crm api.example.com/FORMAT", "domain trial docs/crm",
		"caller list", "caller show billing", "caller create new-FORMAT", "caller token add billing",
		"operator list", "operator show ada", "operator create new-FORMAT", "operator token add ada",
		"check --caller app:billing docs/crm POST https://api.example.com/", "usage", "usage docs/crm", "attention", "whoami", "audit tail -n 1", "doctor", "version",
		"scope regenerate-key docs --dry-run",
	} {
		var fromJSON any
		for _, f := range []format{asJSON, asYAML, asName, asTable} {
			c, out, talk := testCLI(asTable)
			c.getenv = func(name string) string { return map[string]string{"KEYBEARER_HOME": home}[name] }
			args := strings.Fields(strings.ReplaceAll(line, "FORMAT", string(f)))
			if status := c.execute(t.Context(), append(args, "-o", string(f))); status != 0 && !(args[0] == "doctor" && status == 1) {
				t.Errorf("%s -o %s: exit code %d\n%s", line, f, status, talk)
				continue
			}
			text := out.String()
			// A name that is not there is no line, and what a command of change says goes to the error stream.
			if text == "" && f != asName && talk.Len() == 0 {
				t.Errorf("%s -o %s says nothing", line, f)
			}
			switch f {
			case asJSON:
				if err := json.Unmarshal([]byte(text), &fromJSON); err != nil {
					t.Errorf("%s -o json: %v\n%s", line, err, text)
				}
			case asYAML:
				var fromYAML any
				if err := yaml.Unmarshal([]byte(text), &fromYAML); err != nil {
					t.Errorf("%s -o yaml: %v\n%s", line, err, text)
				}
				if want, got := shape(fromJSON), shape(fromYAML); !reflect.DeepEqual(want, got) {
					t.Errorf("%s: yaml has %v, json %v", line, got, want)
				}
			case asName:
				if strings.ContainsAny(text, "{}") || strings.Contains(text, "  ") {
					t.Errorf("%s -o name is no list of names:\n%s", line, text)
				}
			}
		}
	}
}

// shape is the names of the fields of a document, of a list those of its first item: what a second run of a command has in common with the first.
func shape(doc any) any {
	switch doc := doc.(type) {
	case map[string]any:
		fields := map[string]any{}
		for name, value := range doc {
			fields[name] = shape(value)
		}
		return fields
	case []any:
		if len(doc) > 0 {
			return shape(doc[0])
		}
	}
	return nil
}
