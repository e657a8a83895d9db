//go:build !linux

package localkeys

import "errors"

// newPage returns memory like any other.
func newPage() ([]byte, error) {
	return make([]byte, 4096), errors.New("memory is locked on Linux only")
}
