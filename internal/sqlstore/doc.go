// Package sqlstore keeps scopes, credentials, callers, operators and the usage ledger in an SQL database, SQLite or PostgreSQL:
// it is a [keybearer.Store] and a [keybearer.Ledger].
//
// It decides nothing about who may read or change what, and knows neither secrets nor keys: the ciphertext of a
// credential is a run of bytes inside its record.
//
// # Form
//
// Each record is one row: the record as JSON, and beside it copies of what look-ups, listings and searches
// need. Every commit takes the next sequence number from the one row of the table instance, compares the revision of
// each record that it writes, and adds its changes to the feed and its audit events to the outbox, all in one
// transaction. The schema is in the folder schema, once for each database, one numbered file a version.
//
// # SQLite
//
// [OpenSQLite] runs on a single file, in WAL mode with synchronous=FULL: what Commit has acknowledged survives a crash
// of the process and of the machine. One connection writes, several read. Overwritten and deleted content is zeroed
// (secure_delete), copies that SQLite leaves in unused parts of pages are zeroed too, and after every commit that replaced or
// removed a scope or a credential the write-ahead log is copied back and cut to nothing. So old ciphertext is in no file
// of ours when Commit returns, unless a reader holds the log at that moment; then it is tried again every second.
//
// The file belongs to one process at a time, held by a lock on "<file>.lock". Other programs may read the
// database meanwhile, for a backup for example ("sqlite3 keybearer.db '.backup copy.db'").
//
// # PostgreSQL
//
// [OpenPostgres] shares a database with other processes, each a node with a name of its own. The row of instance is locked by every
// commit until it is visible, so commits have one order on all nodes. Each node has its own outbox and its own checkpoint, and
// follows the changes of the others by notifications and by asking: see feed. What it cannot say is when another node's commit will be known here, only as
// of when everything is: Current.
//
// The server may go away and come back. Reads fail at once while it is away, every transaction is over within ten seconds, and what Commit has acknowledged is on
// the server's disk. A connection that is lost during COMMIT leaves open whether the commit has happened.
//
// Replaced and deleted ciphertext stays in the server's files: in the table until VACUUM has freed the row and another has taken its place, in the
// write-ahead log, in replicas and backups for longer. It opens as long as its scope's key exists; destroying that key
// and the scope's share is what makes it worthless, wherever it lies.
//
// Whatever is particular to one database is in the files sqlite*.go and postgres*.go; all other statements keep to what both understand.
package sqlstore
