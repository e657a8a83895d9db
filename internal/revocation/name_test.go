package revocation

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

// What is no name is itself, and of a name only texts are written in one way.
func TestNamesThatAreTold(t *testing.T) {
	name := func(value any) string {
		t.Helper()
		der, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: value}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	for _, der := range []string{"", "x", name("a") + "x"} {
		if got := nameOf([]byte(der)); got != der {
			t.Errorf("%q is called %q", der, got)
		}
	}
	if nameOf([]byte(name("Root  CA"))) != nameOf([]byte(name(" root ca"))) || nameOf([]byte(name("a"))) == nameOf([]byte(name("b"))) {
		t.Error("one name is two, or two are one")
	}
	if nameOf([]byte(name(5))) == nameOf([]byte(name(6))) {
		t.Error("two numbers are one name")
	}
}
