package localkeys

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newPage returns a page of its own mapping. It is kept out of core dumps and of what the process starts, and locked: the error says why not.
// The page is of use all the same.
func newPage() ([]byte, error) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, os.Getpagesize()), fmt.Errorf("mmap: %w", err)
	}
	var errs []error
	for _, step := range []struct {
		name string
		err  error
	}{
		{"mlock", unix.Mlock(page)},
		{"MADV_DONTDUMP", unix.Madvise(page, unix.MADV_DONTDUMP)},
		{"MADV_WIPEONFORK", unix.Madvise(page, unix.MADV_WIPEONFORK)},
	} {
		if step.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", step.name, step.err))
		}
	}
	return page, errors.Join(errs...)
}
