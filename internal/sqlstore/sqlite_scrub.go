package sqlstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"
)

const (
	walSuffix = "-wal"
	logLimit  = 4 << 20 // size of the log, in bytes, at which it is copied back
)

// settle leaves the database file clean and the log empty when content was overwritten or deleted for good, when that was left undone
// before, or when the log has grown long.
func (e *sqliteEngine) settle(ctx context.Context, replaced bool) (done bool) {
	if replaced || e.lingering || size(e.path+walSuffix) >= logLimit {
		e.lingering = e.scrub(ctx) != nil
	}
	return !e.lingering
}

// errHeld says that a reader still needs the log.
var errHeld = errors.New("a reader holds the write-ahead log")

// scrub copies the log into the database file and cuts it to nothing, so that neither holds content that no row has.
//
// The pragma secure_delete zeroes what is deleted. It does not see the copies of rows that SQLite leaves in the unused middle
// of a page when it moves them to a neighbour; deleted there, such a row would live on here. So the unused middle of every page
// that the log holds is zeroed first. As the log is copied back nowhere else, no page of the database file is left out.
func (e *sqliteEngine) scrub(ctx context.Context) error {
	pages, err := loggedPages(e.path + walSuffix)
	if err != nil {
		return err
	}
	if len(pages) == 0 {
		return nil
	}
	if err := e.zeroGaps(ctx, pages); err != nil {
		return err
	}
	// The copying goes on beside our readers; only to cut the log they must be out. Another program that reads is not waited for:
	// a backup may take long.
	if _, err := e.writes.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	if _, err := e.writes.ExecContext(ctx, "PRAGMA busy_timeout = 0"); err != nil {
		return err
	}
	err = e.truncate(ctx)
	if _, err := e.writes.ExecContext(ctx, "PRAGMA busy_timeout = "+busyTimeout); err != nil {
		return err
	}
	return err
}

// patience is how many milliseconds to wait for a moment without readers.
const patience = 20

func (e *sqliteEngine) truncate(ctx context.Context) error {
	// Lock would make every reader that comes wait behind the slowest that is there.
	for range patience {
		if e.gate.TryLock() {
			defer e.gate.Unlock()
			return e.cut(ctx)
		}
		time.Sleep(time.Millisecond)
	}
	return errHeld
}

func (e *sqliteEngine) cut(ctx context.Context) error {
	var busy, frames, copied int
	err := e.writes.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied)
	if err == nil && busy != 0 {
		err = errHeld
	}
	return err
}

// zeroGaps zeroes the unused middle of those of the pages that hold rows of a table.
func (e *sqliteEngine) zeroGaps(ctx context.Context, pages []uint32) error {
	tx, err := e.writes.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	read, err := tx.PrepareContext(ctx, "SELECT data FROM sqlite_dbpage WHERE pgno = ?")
	if err != nil {
		return err
	}
	changed := false
	for _, number := range pages {
		var page []byte
		if err := read.QueryRowContext(ctx, number).Scan(&page); err != nil {
			return err
		}
		gap := unused(page)
		if !slices.ContainsFunc(gap, func(b byte) bool { return b != 0 }) {
			continue
		}
		clear(gap)
		if _, err := tx.ExecContext(ctx, "UPDATE sqlite_dbpage SET data = ? WHERE pgno = ?", page, number); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return tx.Commit()
}

// unused returns the bytes between the cell pointers and the cells of a leaf page of a table, nil for every other page
// (https://www.sqlite.org/fileformat2.html, section 1.6).
func unused(page []byte) []byte {
	const leaf, header = 0x0d, 8
	if len(page) < header || page[0] != leaf {
		return nil
	}
	start := header + 2*int(binary.BigEndian.Uint16(page[3:]))
	end := int(binary.BigEndian.Uint16(page[5:]))
	if start > end || end > len(page) {
		return nil
	}
	return page[start:end]
}

// loggedPages returns the numbers of the pages that are in the log, but the first, which holds the schema
// (https://www.sqlite.org/fileformat2.html, section 4).
func loggedPages(path string) ([]uint32, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	var log [32]byte
	if _, err := io.ReadFull(r, log[:]); err != nil {
		return nil, ignoreEOF(err)
	}
	seen := make(map[uint32]struct{})
	var frame [24]byte
	for {
		if _, err := io.ReadFull(r, frame[:]); err != nil {
			if err := ignoreEOF(err); err != nil {
				return nil, err
			}
			break
		}
		if [8]byte(frame[8:]) != [8]byte(log[16:]) {
			break // salt of an earlier log
		}
		if number := binary.BigEndian.Uint32(frame[:]); number > 1 {
			seen[number] = struct{}{}
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(log[8:]))); err != nil { // page size
			break
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
