// Package upgrade tests what is promised to whoever puts a new binary in the place of an old one (docs/upgrade.md, docs/compatibility.md).
//
// # Samples
//
// testdata holds a sample of each schema that was ever in use, for SQLite and for PostgreSQL: the home of a server that the binary of that
// time has filled, with what its own commands told of it. They are never written again. A release adds one: make sample NAME=v1.2.0 tells the
// story (story_test.go) to the binary that is being released and keeps what comes of it. The story may grow; what a binary does not know of it yet is left out
// of its sample.
//
// A sample is as old as its story. When it is unpacked all times in its records are moved forward by whole hours, as if the story had been told a
// moment ago: what is kept for a while only, like the previous version of a secret, is still there then.
package upgrade
