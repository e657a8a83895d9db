package revocation

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestACertificateIsJudgedByTheListsOfItsIssuer(t *testing.T) {
	root, stranger := newRoot("root"), newRoot("stranger")
	middle := root.issue("middle", isCA)
	bad, good := middle.issue("bad.test"), middle.issue("good.test")
	twin := newRoot("root") // the same name, another key
	extension := func(oid asn1.ObjectIdentifier, v any) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: must(asn1.Marshal(v))}}
		}
	}
	at := func(from, until time.Duration) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = time.Now().Add(from), time.Now().Add(until)
		}
	}
	type users struct {
		OnlyUsers bool `asn1:"optional,tag:1"`
		OnlyCAs   bool `asn1:"optional,tag:2"`
	}
	shard := func(uri string) func(*x509.RevocationList) {
		type point struct {
			Names []asn1.RawValue `asn1:"optional,tag:0"`
		}
		return extension(oidPart, struct {
			Point point `asn1:"optional,tag:0"`
		}{point{[]asn1.RawValue{{Class: 2, Tag: 6, Bytes: []byte(uri)}}}})
	}
	sharded := middle.issue("sharded.test", func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://crl.test/2"} })
	for name, c := range map[string]struct {
		lists [][]byte
		leaf  *authority
		want  error
	}{
		"no lists":                            {nil, bad, nil},
		"named":                               {[][]byte{middle.revoke([]*authority{bad})}, bad, Revoked},
		"not named":                           {[][]byte{middle.revoke([]*authority{bad})}, good, nil},
		"named in PEM":                        {[][]byte{inPEM(middle.revoke([]*authority{bad}))}, bad, Revoked},
		"named in the second of a file":       {[][]byte{inPEM(root.revoke(nil), middle.revoke([]*authority{bad}))}, bad, Revoked},
		"named in the second file":            {[][]byte{root.revoke(nil), middle.revoke([]*authority{bad})}, bad, Revoked},
		"named in the older of two":           {[][]byte{middle.revoke([]*authority{bad}, at(-2*time.Hour, -time.Hour)), middle.revoke(nil)}, bad, Revoked},
		"the intermediate is named":           {[][]byte{root.revoke([]*authority{middle})}, good, Revoked},
		"another issuer's list":               {[][]byte{stranger.revoke([]*authority{bad, middle})}, good, nil},
		"past its time":                       {[][]byte{middle.revoke(nil, at(-2*time.Hour, -time.Second))}, good, ListExpired},
		"named, and past its time":            {[][]byte{middle.revoke([]*authority{bad}, at(-2*time.Hour, -time.Second))}, bad, Revoked},
		"before its time":                     {[][]byte{middle.revoke(nil, at(time.Hour, 2*time.Hour))}, good, ListExpired},
		"an authority's clock is ahead":       {[][]byte{middle.revoke(nil, at(time.Minute, 2*time.Hour))}, good, nil},
		"an old one beside a new one":         {[][]byte{middle.revoke(nil, at(-2*time.Hour, -time.Second)), middle.revoke(nil)}, good, nil},
		"the intermediate's issuer, too late": {[][]byte{middle.revoke(nil), root.revoke(nil, at(-2*time.Hour, -time.Second))}, good, ListExpired},
		"signed by another of the name":       {[][]byte{twin.revoke(nil)}, good, ListUnsigned},
		"forged to name it":                   {[][]byte{twin.revoke([]*authority{middle})}, good, ListUnsigned},
		"a forged one beside the real one":    {[][]byte{twin.revoke([]*authority{middle}), root.revoke(nil)}, good, nil},
		"of users only, about a user":         {[][]byte{middle.revoke(nil, extension(oidPart, users{OnlyUsers: true}))}, good, nil},
		"of authorities only, about a user":   {[][]byte{middle.revoke(nil, extension(oidPart, users{OnlyCAs: true}))}, good, ListElsewhere},
		"of authorities only, about one":      {[][]byte{root.revoke([]*authority{middle}, extension(oidPart, users{OnlyCAs: true}))}, good, Revoked},
		"of authorities only, naming none":    {[][]byte{root.revoke(nil, extension(oidPart, users{OnlyCAs: true}))}, good, nil},
		"named with a reason":                 {[][]byte{middle.revoke([]*authority{bad}, func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 6 })}, bad, Revoked},
		"past its time, and another shard":    {[][]byte{middle.revoke(nil, shard("http://crl.test/2"), at(-2*time.Hour, -time.Second)), middle.revoke(nil, shard("http://crl.test/1"))}, sharded, ListExpired},
		"of users only, about an authority":   {[][]byte{root.revoke(nil, extension(oidPart, users{OnlyUsers: true}))}, good, ListElsewhere},
		"another shard":                       {[][]byte{middle.revoke(nil, shard("http://crl.test/1"))}, sharded, ListElsewhere},
		"its shard":                           {[][]byte{middle.revoke(nil, shard("http://crl.test/2"))}, sharded, nil},
		"all shards":                          {[][]byte{middle.revoke(nil, shard("http://crl.test/1")), middle.revoke([]*authority{sharded}, shard("http://crl.test/2"))}, sharded, Revoked},
		"its shard is past its time":          {[][]byte{middle.revoke(nil, shard("http://crl.test/1")), middle.revoke(nil, shard("http://crl.test/2"), at(-2*time.Hour, -time.Second))}, sharded, ListExpired},
		"a shard, and it names none":          {[][]byte{middle.revoke(nil, shard("http://crl.test/1"))}, good, ListElsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := open(t, c.lists...)
			for range 2 { // the second time by what was found the first time
				if got := l.Check(chain(c.leaf, middle, root)); got != c.want {
					t.Errorf("%v, want %v", got, c.want)
				}
			}
		})
	}
	t.Run("signed by one who may not", func(t *testing.T) {
		mute := root.issue("mute", isCA, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
		allowed := *mute.cert
		allowed.KeyUsage |= x509.KeyUsageCRLSign // CreateRevocationList looks at it
		l, _ := open(t, (&authority{&allowed, mute.key}).revoke(nil))
		if got := l.Check(chain(mute.issue("x.test"), mute, root)); got != ListUnsigned {
			t.Error(got)
		}
	})
	t.Run("signed under the issuer's name as others write it", func(t *testing.T) { // RFC 5280 section 7.1
		for _, tag := range []int{asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String} {
			for _, text := range []string{"middle", "Middle", " middle  "} {
				value := asn1.RawValue{Tag: tag, Bytes: []byte(text)}
				as := *middle.cert
				as.RawSubject = must(asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: value}}}))
				l, _ := open(t, (&authority{&as, middle.key}).revoke([]*authority{bad}))
				if got := l.Check(chain(bad, middle, root)); got != Revoked {
					t.Errorf("tag %d, %q: %v", tag, text, got)
				}
			}
		}
	})
	t.Run("nobody's", func(t *testing.T) {
		l, _ := open(t)
		if got := l.Check(nil); got != NoChain {
			t.Error(got)
		}
		var none *Lists
		if err := none.Check(chain(bad, middle, root)); err != nil || none.Issue() != 0 || none.Close() != nil {
			t.Error(err)
		}
	})
}

func TestOpenRefusesWhatItCannotJudgeBy(t *testing.T) {
	root := newRoot("root")
	whole := root.revoke(nil)
	text := inPEM(whole)
	critical := func(oid asn1.ObjectIdentifier, v any) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: must(asn1.Marshal(v))}}
		}
	}
	type flags struct {
		Point    asn1.RawValue  `asn1:"optional,tag:0"`
		Reasons  asn1.BitString `asn1:"optional,tag:3"`
		Indirect bool           `asn1:"optional,tag:4"`
		Attrs    bool           `asn1:"optional,tag:5"`
	}
	relative := asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: must(asn1.Marshal(asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: []byte{0x30, 0}}))}
	entry := func(e pkix.Extension) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now(), ExtraExtensions: []pkix.Extension{e}}}
		}
	}
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0), BasicConstraintsValid: true}
	isCA(template)
	issuer := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))))
	sha256 := must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, issuer, key))
	sha1 := bytes.ReplaceAll(sha256, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"))
	if l, err := parseDER(sha256); err != nil || !l.signedBy(issuer) {
		t.Fatal(err)
	}
	part := func(value ...byte) []byte {
		return root.revoke(nil, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oidPart, Critical: true, Value: value}}
		})
	}
	if _, err := parseDER(part(0x30, 7, 0xa0, 5, 0xa0, 3, 0x86, 1, 'u')); err != nil { // what the ones below are spoilt forms of
		t.Fatal(err)
	}
	endless := resealed(whole, func(tbs []asn1.RawValue) []asn1.RawValue { return append(tbs[:4:4], tbs[5:]...) })
	if crl, err := x509.ParseRevocationList(endless); err != nil || !crl.NextUpdate.IsZero() {
		t.Fatal(crl, err)
	}
	for mistake, content := range map[string][]byte{
		"no DER as a part":        part(0x30, 7),
		"a part with a tail":      part(0x30, 7, 0xa0, 5, 0xa0, 3, 0x86, 1, 'u', 5, 0),
		"a point that is no name": part(0x30, 7, 0xa0, 5, 0xa2, 3, 0x86, 1, 'u'),
		"two points in one":       part(0x30, 12, 0xa0, 10, 0xa0, 3, 0x86, 1, 'u', 0xa0, 3, 0x86, 1, 'u'),
		"a name that is no URI":   part(0x30, 7, 0xa0, 5, 0xa0, 3, 0x82, 1, 'u'),
		"no name":                 part(0x30, 4, 0xa0, 2, 0xa0, 0),
		"a delta that hides it": root.revoke(nil, func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oidDelta, Value: []byte{2, 1, 1}}}
		}),
		"a delta in PEM":             inPEM(root.revoke(nil, critical(oidDelta, 1))),
		"without an end":             endless,
		"signed with SHA-1":          sha1,
		"empty":                      {},
		"blank":                      []byte("\n\n"),
		"text":                       []byte("no list\n"),
		"half a list in DER":         whole[:len(whole)/2],
		"half a list in PEM":         text[:len(text)/2],
		"the second is half":         append(inPEM(whole), text[:len(text)/2]...),
		"the first is damaged":       append(bytes.Replace(text, []byte("\n"), []byte("\n!"), 1), inPEM(newRoot("other").revoke(nil))...),
		"the first has no end":       append(append([]byte{}, text[:len(text)/2]...), inPEM(newRoot("other").revoke(nil))...),
		"the first end is another's": append(bytes.Replace(text, []byte("END X509 CRL"), []byte("END X509 CRX"), 1), inPEM(newRoot("other").revoke(nil))...),
		"something after it":         append(inPEM(whole), "and so on"...),
		"DER with a tail":            append(append([]byte{}, whole...), 0),
		"a certificate":              []byte(strings.ReplaceAll(string(text), "X509 CRL", "CERTIFICATE")),
		"a delta":                    root.revoke(nil, critical(oidDelta, 1)),
		"for some reasons":           root.revoke(nil, critical(oidPart, flags{Reasons: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}})),
		"indirect":                   root.revoke(nil, critical(oidPart, flags{Indirect: true})),
		"of attributes":              root.revoke(nil, critical(oidPart, flags{Attrs: true})),
		"of a point without a URI":   root.revoke(nil, critical(oidPart, flags{Point: relative})),
		"with an unknown extension":  root.revoke(nil, critical(asn1.ObjectIdentifier{1, 2, 3}, 1)),
		"with another issuer within": root.revoke(nil, entry(pkix.Extension{Id: oidEntryOf, Value: []byte{0x30, 0}})),
		"with a critical entry":      root.revoke(nil, entry(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})),
	} {
		path := filepath.Join(t.TempDir(), "x.crl")
		write(t, path, content)
		if l, err := Open(nil, path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", mistake, err)
			_ = l.Close()
		}
	}
	large := filepath.Join(t.TempDir(), "large.crl")
	write(t, large, nil)
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(nil, large); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}
	if _, err := Open(nil, filepath.Dir(large)); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Error(err)
	}
	if _, err := Fingerprint(large); err == nil {
		t.Error("a fingerprint of nothing")
	}
	if _, err := Open(nil, filepath.Join(t.TempDir(), "missing.crl")); err == nil || !strings.Contains(err.Error(), "missing.crl") {
		t.Error(err)
	}
}

// resealed takes the signed part of a list in DER to pieces and puts it together again. The signature is of no use after that.
func resealed(der []byte, edit func([]asn1.RawValue) []asn1.RawValue) []byte {
	var outer, tbs []asn1.RawValue
	must(asn1.Unmarshal(der, &outer))
	must(asn1.Unmarshal(outer[0].FullBytes, &tbs))
	outer[0] = asn1.RawValue{FullBytes: must(asn1.Marshal(edit(tbs)))}
	return must(asn1.Marshal(outer))
}
