package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// crowd stores n credentials in ten scopes.
func (o *office) crowd(n int) {
	o.t.Helper()
	var b keybearer.Batch
	var scopes []*keybearer.Scope
	for i := range 10 {
		scopes = append(scopes, &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: fmt.Sprintf("team-%d", i), Key: &keybearer.ScopeKey{Name: "k", Generation: 1}})
		b.Writes = append(b.Writes, keybearer.Write{Scope: scopes[i]})
	}
	for i := range n {
		b.Writes = append(b.Writes, keybearer.Write{Credential: &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scopes[i%10].ID, Name: fmt.Sprintf("service-%07d", i), Description: "what it is for, in some words",
			Grants: []keybearer.Grant{{Subject: keybearer.AppSubject(fmt.Sprintf("app-%d", i%1000)), Level: keybearer.Use}},
			Current: keybearer.Version{Number: 1, Sealed: make([]byte, 300), Terms: keybearer.Terms{Kind: keybearer.Bearer, Rules: []keybearer.Rule{
				{Scheme: "https", Host: fmt.Sprintf("api-%d.example.com", i), Port: 443},
			}}},
		}})
		if len(b.Writes) >= 200 || i == n-1 {
			if _, err := o.store.Commit(o.t.Context(), b); err != nil {
				o.t.Fatal(err)
			}
			b.Writes = nil
		}
	}
}

// BenchmarkTheList measures pages of the list at 100,000 credentials, from the request to the whole page.
func BenchmarkTheList(b *testing.B) {
	o := newOffice(b)
	o.crowd(100_000)
	o.caller("billing", "team-3")
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	for _, query := range []string{
		"", "q=example.com", "q=service-0099999", "q=no-such", "scope=team-3", "used_by=app-7", "state=disabled", "state=unused", "state=expiring", "state=deleted",
	} {
		b.Run(query, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				start := time.Now()
				if r := ann.get("/credentials?"+query, "HX-Request", "true"); r.Code != http.StatusOK || strings.Contains(r.text, "wrong") {
					b.Fatal(r.text)
				}
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/page")
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms/worst")
			b.ReportMetric(0, "ns/op")
		})
	}
}
