//go:build !unix

package caddymodule

// freeSpace returns -1: it cannot be told here.
func freeSpace(string) int64 { return -1 }
