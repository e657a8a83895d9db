-- One row: the counters of this store. Every commit updates it first, which puts commits in one order.
CREATE TABLE instance (
	one               INTEGER PRIMARY KEY CHECK (one = 1),
	seq               INTEGER NOT NULL, -- of the last commit
	change            INTEGER NOT NULL, -- last number given in changes
	event             INTEGER NOT NULL, -- last number given in events
	feed_floor        INTEGER NOT NULL, -- commits up to this one have left the feed
	checkpoint_file   TEXT    NOT NULL, -- how far the audit log was read into the usage tables
	checkpoint_offset INTEGER NOT NULL
);
INSERT INTO instance VALUES (1, 0, 0, 0, 0, '', 0);

-- The four tables of records. The record itself is JSON; the other columns are copies for look-up and search.
-- Tombstones are rows like any other, so that the unique indexes reserve their names.
CREATE TABLE scopes (
	id       TEXT    PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	deleted  INTEGER NOT NULL,
	search   TEXT    NOT NULL, -- lower case
	revision INTEGER NOT NULL,
	record   TEXT    NOT NULL
);

CREATE TABLE credentials (
	id         TEXT    PRIMARY KEY,
	scope_id   TEXT    NOT NULL REFERENCES scopes (id),
	scope_name TEXT    NOT NULL, -- a copy, so that one index gives the order of listings
	name       TEXT    NOT NULL,
	deleted    INTEGER NOT NULL,
	kind       TEXT    NOT NULL,
	subjects   TEXT    NOT NULL, -- of the grants, each between line feeds
	search     TEXT    NOT NULL, -- lower case
	revision   INTEGER NOT NULL,
	record     TEXT    NOT NULL,
	UNIQUE (scope_id, name)
);
-- Holds all that a listing filters by, so that a search reads this index and only the rows that it shows.
CREATE INDEX credentials_listing ON credentials (scope_name, name, deleted, kind, subjects, search);
CREATE INDEX credentials_by_id ON credentials (scope_id, id, deleted);

CREATE TABLE callers (
	id       TEXT    PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	deleted  INTEGER NOT NULL,
	search   TEXT    NOT NULL,
	revision INTEGER NOT NULL,
	record   TEXT    NOT NULL
);

CREATE TABLE operators (
	id       TEXT    PRIMARY KEY,
	name     TEXT    NOT NULL UNIQUE,
	deleted  INTEGER NOT NULL,
	search   TEXT    NOT NULL,
	revision INTEGER NOT NULL,
	record   TEXT    NOT NULL
);

CREATE TABLE tokens (
	hash  TEXT PRIMARY KEY, -- hexadecimal
	kind  TEXT NOT NULL,    -- caller or operator
	owner TEXT NOT NULL     -- id
);
CREATE INDEX tokens_by_owner ON tokens (owner);

CREATE TABLE changes (
	number   INTEGER PRIMARY KEY,
	seq      INTEGER NOT NULL,
	kind     TEXT    NOT NULL,
	id       TEXT    NOT NULL,
	scope_id TEXT    NOT NULL
);
CREATE INDEX changes_by_seq ON changes (seq);

-- Audit events of commits that the audit log may not have yet.
CREATE TABLE events (
	number INTEGER PRIMARY KEY,
	event  TEXT    NOT NULL
);

-- Times are microseconds since 1970, 0 for none.
CREATE TABLE usage (
	credential_id TEXT    PRIMARY KEY,
	uses          INTEGER NOT NULL,
	refused       INTEGER NOT NULL,
	last_at       INTEGER NOT NULL,
	last_caller   TEXT    NOT NULL,
	last_user     TEXT    NOT NULL,
	last_host     TEXT    NOT NULL,
	last_status   INTEGER NOT NULL
);

CREATE TABLE usage_callers (
	credential_id TEXT    NOT NULL,
	caller        TEXT    NOT NULL,
	uses          INTEGER NOT NULL,
	last_at       INTEGER NOT NULL,
	last_host     TEXT    NOT NULL,
	PRIMARY KEY (credential_id, caller)
);

CREATE TABLE usage_hours (
	credential_id TEXT    NOT NULL, -- '' for all together
	hour          INTEGER NOT NULL,
	uses          INTEGER NOT NULL,
	refused       INTEGER NOT NULL,
	failed        INTEGER NOT NULL,
	PRIMARY KEY (credential_id, hour)
);
CREATE INDEX usage_hours_by_hour ON usage_hours (hour);
