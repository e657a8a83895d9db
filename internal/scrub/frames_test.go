package scrub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// frame is one of a server.
type frame struct {
	opcode  byte
	final   bool
	payload string
}

func (f frame) append(b []byte) []byte {
	first := f.opcode
	if f.final {
		first |= 0x80
	}
	b = append(b, first)
	switch n := len(f.payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, f.payload...)
}

// fragments draws a message in fragments, with control frames between them.
func fragments(t *rapid.T, message string) []frame {
	var all []frame
	opcode := byte(1)
	for {
		for range rapid.IntRange(0, 2).Draw(t, "controls") {
			all = append(all, frame{9, true, rapid.StringMatching(`[abc]{0,20}`).Draw(t, "control")})
		}
		n := rapid.IntRange(0, len(message)).Draw(t, "fragment")
		last := n == len(message) && rapid.Bool().Draw(t, "last")
		all = append(all, frame{opcode, last, message[:n]})
		if last {
			return all
		}
		message, opcode = message[n:], 0
	}
}

func TestMessagesAreScrubbedWhateverTheirFragments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := words(t)
		s := of(slices.Clone(words)...)
		var sent, want []byte
		for range rapid.IntRange(1, 3).Draw(t, "messages") {
			message := rapid.StringMatching(`[abc]{0,40}`).Draw(t, "message")
			scrubbed := naive(words, message)
			for _, f := range fragments(t, message) {
				sent = f.append(sent)
				if f.opcode > 7 {
					f.payload = naive(words, f.payload)
				} else {
					f.payload, scrubbed = scrubbed[:len(f.payload)], scrubbed[len(f.payload):]
				}
				want = f.append(want)
			}
		}
		for at := range len(sent) + 1 {
			if got := must(io.ReadAll(s.Frames(split(string(sent), at)))); !bytes.Equal(got, want) {
				t.Fatalf("without %q, split at %d:\n%q, want\n%q", words, at, got, want)
			}
		}
		if got := must(io.ReadAll(s.Frames(iotest.OneByteReader(bytes.NewReader(sent))))); !bytes.Equal(got, want) {
			t.Fatalf("without %q, byte by byte:\n%q, want\n%q", words, got, want)
		}
	})
}

// What the random ones find, in one stream: a secret in a message, in a control frame, and over fragments with control frames and empty ones between.
func TestASecretOverFragmentsIsFoundHoweverTheyArrive(t *testing.T) {
	s := of("s3cret-token", "token-two")
	var sent, want []byte
	for _, f := range []struct {
		opcode  byte
		final   bool
		payload string
		kept    string
	}{
		{1, true, "a s3cret-token b", "a ************ b"},
		{9, true, "ping s3cret-token", "ping ************"},
		{1, false, "a s3cr", "a ****"},
		{9, true, "", ""},
		{0, false, "et-", "***"},
		{0, false, "", ""},
		{10, true, "s3cret-", "s3cret-"},
		{0, false, "token", "*****"},
		{9, true, "token-two", "*********"},
		{0, false, "-two s3cret", "**** s3cret"},
		{0, true, "", ""},
		{2, true, "-token", "-token"},
		{1, false, "s3", "s3"},
		{0, true, "c", "c"},
		{8, true, "s3cret-toke", "***********"},
	} {
		sent = frame{f.opcode, f.final, f.payload}.append(sent)
		want = frame{f.opcode, f.final, f.kept}.append(want)
	}
	for at := range len(sent) + 1 {
		if got := must(io.ReadAll(s.Frames(split(string(sent), at)))); !bytes.Equal(got, want) {
			t.Fatalf("split at %d:\n%q, want\n%q", at, got, want)
		}
	}
	for n := 1; n < 8; n++ {
		if got := must(io.ReadAll(s.Frames(&steps{bytes.Clone(sent), n}))); !bytes.Equal(got, want) {
			t.Fatalf("in steps of %d:\n%q, want\n%q", n, got, want)
		}
	}
}

// Between what is held and what comes, no more is kept than a limit allows, and then nothing more is read.
func TestWhatIsHeldOfFramesIsBounded(t *testing.T) {
	f := of("s3cret-token").Frames(bytes.NewReader(nil))
	f.out, f.node = []byte("s3cret-"), f.a.mask(0, []byte("s3cret-"), 0)
	f.settle()
	if f.ready != 0 || f.err != nil {
		t.Errorf("%d bytes go on, %v", f.ready, f.err)
	}
	for range maxHeld + 200 {
		f.skip(0)
	}
	if f.settle(); !errors.Is(f.err, ErrFrames) || len(f.gaps) != 1 || f.gaps[0] != (gap{7, len(f.out)}) {
		t.Errorf("%d bytes are held, %v, gaps %v", len(f.out)-f.ready, f.err, f.gaps)
	}
}

func TestFramesOfEveryLength(t *testing.T) {
	s := of("s3cret-token")
	for _, n := range []int{0, 12, 125, 126, 127, 65535, 65536, 200_000} {
		text := strings.Repeat("s3cret-token.", n/13+1)[:n]
		sent := frame{2, true, text}.append(nil)
		want := frame{2, true, naive([]string{"s3cret-token"}, text)}.append(nil)
		if got := must(io.ReadAll(s.Frames(bytes.NewReader(sent)))); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: not as it should be", n)
		}
	}
}

// An app that waits for a message gets all of it, even if it ends as the secret begins, and control frames without waiting for anything.
func TestAMessageThatHasEndedIsNotHeldBack(t *testing.T) {
	s := of("s3cret-token")
	for _, sent := range [][]byte{
		frame{1, true, "ends with s3c"}.append(nil),
		frame{9, true, "s3c"}.append(nil),
		frame{0, true, "s3c"}.append(frame{1, false, "in two, "}.append(nil)),
		frame{9, true, ""}.append(frame{1, false, "a ping between"}.append(nil)),
	} {
		r := s.Frames(io.MultiReader(bytes.NewReader(sent), iotest.ErrReader(io.ErrNoProgress)))
		r.fill()
		if got := r.out[r.given:r.ready]; !bytes.Equal(got, sent) {
			t.Errorf("of %q came %q", sent, got)
		}
	}
}

func TestFramesThatCannotBeReadEndTheStream(t *testing.T) {
	s := of("s3cret-token")
	many := frame{1, false, "s3cret-"}.append(nil)
	for range 1 << 20 {
		many = frame{0, false, ""}.append(many)
	}
	for name, sent := range map[string][]byte{
		"compressed":                 {0xc1, 1, 'x'},
		"masked":                     {0x81, 0x81, 1, 2, 3, 4, 'x'},
		"unknown opcode":             {0x83, 1, 'x'},
		"unknown control":            {0x8b, 0},
		"long control":               {0x89, 126, 0, 200},
		"fragment of a control":      {0x09, 0},
		"nothing to continue":        {0x80, 1, 'x'},
		"a message within a message": {0x01, 1, 'x', 0x81, 1, 'y'},
		"length beyond all":          {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"fragments without an end":   many,
	} {
		got, err := io.ReadAll(s.Frames(bytes.NewReader(frame{1, true, "s3cret-token"}.append(sent))))
		if !errors.Is(err, ErrFrames) || bytes.Contains(got, []byte("s3cret-token")) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestTheLongestControlFramePasses(t *testing.T) {
	sent := frame{9, true, strings.Repeat("x", maxControl)}.append(nil)
	if got, err := io.ReadAll(of("s3cret-token").Frames(bytes.NewReader(sent))); !bytes.Equal(got, sent) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestAMessageThatIsCutWithinTheSecretKeepsAFewBytesAtMost(t *testing.T) {
	const secret = "s3cret-token-of-the-crm"
	for n := range secret {
		sent := append([]byte{0x81, 100}, secret[:n]...)
		want := string(sent)
		if n >= Least {
			want = string(sent[:2]) + strings.Repeat("*", n)
		}
		if got := must(io.ReadAll(of(secret).Frames(bytes.NewReader(sent)))); string(got) != want {
			t.Errorf("%q: %q", sent, got)
		}
	}
}

func TestManyFramesTakeNoMemory(t *testing.T) {
	var sent []byte
	for range 10_000 {
		sent = frame{1, true, "s3cret-"}.append(sent)
	}
	f := of("s3cret-token").Frames(bytes.NewReader(sent))
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{f}); n != int64(len(sent)) || err != nil || cap(f.out) > 4*chunk || len(f.gaps) > 1 {
		t.Errorf("%d bytes, %v; %d kept, %d gaps", n, err, cap(f.out), len(f.gaps))
	}
}

func FuzzFramesKeepTheirForm(f *testing.F) {
	f.Add(frame{1, true, "you sent s3cret-token"}.append(nil), uint8(3))
	f.Add(frame{0, true, "token"}.append(frame{1, false, "s3cret-"}.append(nil)), uint8(1))
	s := of("s3cret-token")
	f.Fuzz(func(t *testing.T, sent []byte, step uint8) {
		got, _ := io.ReadAll(s.Frames(&steps{sent, int(step)%7 + 1}))
		if len(got) > len(sent) {
			t.Fatalf("%d bytes became %d", len(sent), len(got))
		}
		for i := range got {
			if got[i] != sent[i] && got[i] != star {
				t.Fatalf("byte %d of %q became %q", i, sent, got)
			}
		}
		if bytes.Contains(got, []byte("s3cret-token")) {
			t.Fatalf("%q came out of %q", got, sent)
		}
	})
}
