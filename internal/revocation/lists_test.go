package revocation

import (
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
	for mistake, content := range map[string][]byte{
		"empty":                      {},
		"blank":                      []byte("\n\n"),
		"text":                       []byte("no list\n"),
		"half a list in DER":         whole[:len(whole)/2],
		"half a list in PEM":         text[:len(text)/2],
		"the second is half":         append(inPEM(whole), text[:len(text)/2]...),
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
	if _, err := Open(nil, filepath.Join(t.TempDir(), "missing.crl")); err == nil || !strings.Contains(err.Error(), "missing.crl") {
		t.Error(err)
	}
}

func TestAReplacedListHoldsWithinSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root := newRoot("root")
		leaf := root.issue("leaf.test")
		l, paths := open(t, root.revoke(nil))
		c, before := chain(leaf, root), l.Issue()
		if err := l.Check(c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if l.Issue() != before {
			t.Error("a new issue of what has not changed")
		}
		write(t, paths[0]+".new", inPEM(root.revoke([]*authority{leaf})))
		if err := os.Rename(paths[0]+".new", paths[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(c); err != Revoked || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
	})
}

func TestAListThatPassesItsTimeIsANewIssue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root := newRoot("root")
		leaf := root.issue("leaf.test")
		l, _ := open(t, root.revoke(nil), root.revoke(nil, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(2 * time.Hour) }))
		before := l.Issue()
		time.Sleep(time.Hour + lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != nil || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
		before = l.Issue()
		time.Sleep(time.Hour)
		if err := l.Check(chain(leaf, root)); err != ListExpired || l.Issue() == before {
			t.Error(err, l.Issue(), before)
		}
	})
}

func TestABrokenListCountsForAMomentAndThenRefuses(t *testing.T) {
	root, other := newRoot("root"), newRoot("other")
	leaf, neighbour := root.issue("leaf.test"), other.issue("neighbour.test")
	for how, spoil := range map[string]func(t *testing.T, path string){
		"removed":      func(_ *testing.T, path string) { _ = os.Remove(path) },
		"half-written": func(t *testing.T, path string) { write(t, path, inPEM(root.revoke(nil))[:100]) },
		"emptied":      func(t *testing.T, path string) { write(t, path, nil) },
	} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l, paths := open(t, root.revoke(nil), other.revoke(nil))
				spoil(t, paths[0])
				time.Sleep(patience / 2)
				if err := l.Check(chain(leaf, root)); err != nil {
					t.Errorf("at first: %v", err)
				}
				before := l.Issue()
				time.Sleep(patience)
				if err := l.Check(chain(leaf, root)); err != ListMissing || l.Issue() == before {
					t.Errorf("later: %v", err)
				}
				if err := l.Check(chain(neighbour, other)); err != nil {
					t.Errorf("the other file: %v", err)
				}
				write(t, paths[0], inPEM(root.revoke(nil)))
				time.Sleep(lookEvery + time.Second)
				if err := l.Check(chain(leaf, root)); err != nil {
					t.Errorf("mended: %v", err)
				}
			})
		})
	}
}

func TestAnIssuerThatHadAListIsRefusedWithoutOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		root, other := newRoot("root"), newRoot("other")
		leaf := root.issue("leaf.test")
		l, paths := open(t, inPEM(other.revoke(nil), root.revoke(nil)))
		write(t, paths[0], inPEM(other.revoke(nil))) // cut between two lists
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != ListMissing {
			t.Error(err)
		}
		write(t, paths[0], inPEM(root.revoke([]*authority{leaf})))
		time.Sleep(lookEvery + time.Second)
		if err := l.Check(chain(leaf, root)); err != Revoked {
			t.Error(err)
		}
	})
}
