//go:build !unix

package audit

import "os"

// Without flock nothing keeps a second writer away.
func lock(*os.File) error { return nil }

func unlock(*os.File) {}
