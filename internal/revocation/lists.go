package revocation

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lookEvery is how often the files are looked at; a look costs one stat each.
	lookEvery = 2 * time.Second
	// patience is how long a file that was replaced may be unreadable, and what it said before goes on to count. A file that
	// is copied over the old one is half there for a moment.
	patience = 30 * time.Second
	// maxFile bounds a file, in bytes.
	maxFile = 256 << 20
)

// Lists are the revocation lists of a set of files, followed while they change. It is safe for concurrent use. A nil *Lists
// holds none.
type Lists struct {
	logger *slog.Logger
	files  []*file
	index  atomic.Pointer[index]
	issue  atomic.Uint64

	quit chan struct{}
	done sync.WaitGroup
}

// index is what is asked. It does not change.
type index map[string][]*list // by nameOf its issuer; an issuer without any is one whose lists are gone

// file is what was read last. Only the goroutine that follows uses it, after Open.
type file struct {
	path   string
	seen   os.FileInfo // before it was read
	lists  []*list
	broken time.Time // since when it cannot be read; zero: it can
	gone   bool      // for too long
}

// Open reads the files, each of PEM blocks "X509 CRL" or one list in DER, and follows them until Close: a file that is replaced is
// read anew within a few seconds. It is an error when one cannot be read now, names the path, and says how to mend it.
//
// An issuer has lists if any file that was read since Open had one of it. So a file that loses a list on the way, or becomes
// unreadable for more than 30 seconds, refuses what the issuer issued until it is whole again. A nil logger is [slog.Default].
func Open(logger *slog.Logger, files ...string) (*Lists, error) {
	if logger == nil {
		logger = slog.Default()
	}
	l := &Lists{logger: logger, quit: make(chan struct{})}
	for _, path := range files {
		f := &file{path: path}
		if err := f.read(); err != nil {
			return nil, err
		}
		l.files = append(l.files, f)
	}
	l.rebuild()
	l.warn()
	if len(files) > 0 {
		l.done.Go(l.follow)
	}
	return l, nil
}

// Fingerprint reads the files as Open does, with the same errors, and returns a hash of what they hold.
func Fingerprint(files ...string) (string, error) {
	hash := sha256.New()
	for _, path := range files {
		f := &file{path: path}
		if err := f.read(); err != nil {
			return "", err
		}
		for _, list := range f.lists {
			hash.Write(list.signed.RawTBSRevocationList)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Close stops following the files. What was read last goes on to be judged by. Call it once.
func (l *Lists) Close() error {
	if l != nil {
		close(l.quit)
		l.done.Wait()
	}
	return nil
}

// Issue counts the changes of what Check says: a list was read anew, passed its time, or was lost. A connection that was judged under
// another issue is to be judged again.
func (l *Lists) Issue() uint64 {
	if l == nil {
		return 0
	}
	return l.issue.Load()
}

// Check judges each certificate of a chain whose issuer has lists: from the leaf to the root, which nobody revokes, as
// [x509.Certificate.Verify] returns it. The error is a [Refusal].
func (l *Lists) Check(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return NoChain
	}
	if l == nil {
		return nil
	}
	now, index := time.Now(), *l.index.Load()
	for i, c := range chain[:len(chain)-1] {
		if err := index.check(c, chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

func (x index) check(c, issuer *x509.Certificate, now time.Time) error {
	if len(x) == 0 {
		return nil
	}
	lists, listed := x[nameOf(c.RawIssuer)]
	switch {
	case !listed:
		return nil
	case len(lists) == 0:
		return ListMissing
	}
	// Whatever any list says against the certificate counts; for it speaks only one that is signed, about it, and of now.
	refusal := ListUnsigned
	clear := false
	for _, list := range lists {
		switch {
		case !list.signedBy(issuer):
		case list.holds(c):
			return Revoked
		case !list.valid(now):
			refusal = ListExpired
		case list.part.about(c):
			clear = true
		case refusal != ListExpired:
			refusal = ListElsewhere
		}
	}
	if clear {
		return nil
	}
	return refusal
}

// follow looks at the files again and again.
func (l *Lists) follow() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	before := l.valid()
	for {
		select {
		case <-tick.C:
		case <-l.quit:
			return
		}
		if l.look() {
			l.rebuild()
		}
		if after := l.valid(); after != before {
			before = after
			l.issue.Add(1)
			l.warn()
		}
	}
}

// look reads what has changed, and reports whether anything is to be judged otherwise now.
func (l *Lists) look() (changed bool) {
	for _, f := range l.files {
		if info, _ := os.Stat(f.path); f.broken.IsZero() && same(f.seen, info) {
			continue
		}
		err := f.read()
		switch {
		case err == nil:
			l.logger.Info("revocation list was read anew", "file", f.path)
			changed = true
		case f.broken.IsZero():
			f.broken = time.Now()
		case !f.gone && time.Since(f.broken) >= patience:
			l.logger.Error("revocation list cannot be read: certificates of its issuers are refused until it can", "error", err)
			f.gone, changed = true, true
		}
	}
	return changed
}

// same reports whether a file is the one that was seen. A nil one is not.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// read reads the file, and leaves f as it was if that fails.
func (f *file) read() error {
	info, err := os.Stat(f.path) // before it is read: what is written from now on is a change
	switch {
	case err != nil:
		return fmt.Errorf("%w: give a file that this user may read", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: it is not a file", f.path)
	case info.Size() > maxFile:
		return fmt.Errorf("%s: it is larger than 256 MiB", f.path)
	}
	content, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("%w: give a file that this user may read", err)
	}
	lists, err := parse(content)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.seen, f.lists, f.broken, f.gone = info, lists, time.Time{}, false
	return nil
}

// rebuild makes the index of what the files say. An issuer that once had lists stays in it.
func (l *Lists) rebuild() {
	next := make(index)
	if before := l.index.Load(); before != nil {
		for issuer := range *before {
			next[issuer] = nil
		}
	}
	for _, f := range l.files {
		for _, list := range f.lists {
			next[list.issuer] = append(next[list.issuer], list)
		}
	}
	for _, f := range l.files {
		if f.gone {
			for _, list := range f.lists {
				next[list.issuer] = nil
			}
		}
	}
	l.index.Store(&next)
	l.issue.Add(1)
}

// warn tells the operator of lists that are not valid now.
func (l *Lists) warn() {
	for _, f := range l.files {
		for _, list := range f.lists {
			if !list.valid(time.Now()) {
				l.logger.Warn("revocation list is not valid now: certificates of its issuer are refused without another", "file", f.path, "until", list.until)
			}
		}
	}
}

// valid says which of the lists speak for this moment.
func (l *Lists) valid() string {
	now := time.Now()
	var each []byte
	for _, f := range l.files {
		for _, list := range f.lists {
			each = strconv.AppendBool(each, list.valid(now))
		}
	}
	return string(each)
}
