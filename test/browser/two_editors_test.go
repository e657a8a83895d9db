package browser

import "testing"

func TestTheSecondOfTwoEditorsIsToldAndLosesNothing(t *testing.T) {
	w := newWorld(t)
	eve := w.Do(t, "", "operator", "create", "eve", "--role", "scope-admin:docs")
	for _, name := range []string{"ada", "eve"} {
		w.Do(t, "", "grant", "add", "docs/crm", "user:"+name, "administer")
	}
	w.play("two_editors", map[string]any{"other": eve}, nil)
}
