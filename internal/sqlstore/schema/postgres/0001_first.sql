-- The schema of schema/sqlite in PostgreSQL's words. Texts are ordered and compared by their bytes, whatever the database's own order.

-- One row: the counters of this store. Every commit updates it first, which puts commits in one order: each is visible before the
-- next has its number.
CREATE TABLE instance (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	seq        BIGINT  NOT NULL, -- of the last commit
	change     BIGINT  NOT NULL, -- last number given in changes
	event      BIGINT  NOT NULL, -- last number given in events
	feed_floor BIGINT  NOT NULL  -- commits up to this one have left the feed
);
INSERT INTO instance VALUES (1, 0, 0, 0, 0);

-- The four tables of records. The record itself is JSON; the other columns are copies for look-up and search.
-- Tombstones are rows like any other, so that the unique indexes reserve their names.
CREATE TABLE scopes (
	id       TEXT COLLATE "C" PRIMARY KEY,
	name     TEXT COLLATE "C" NOT NULL UNIQUE,
	deleted  INTEGER          NOT NULL,
	search   TEXT COLLATE "C" NOT NULL, -- lower case
	revision BIGINT           NOT NULL,
	record   TEXT             NOT NULL
);

CREATE TABLE credentials (
	id         TEXT COLLATE "C" PRIMARY KEY,
	scope_id   TEXT COLLATE "C" NOT NULL REFERENCES scopes (id),
	scope_name TEXT COLLATE "C" NOT NULL, -- a copy, so that one index gives the order of listings
	name       TEXT COLLATE "C" NOT NULL,
	deleted    INTEGER          NOT NULL,
	kind       TEXT COLLATE "C" NOT NULL,
	subjects   TEXT COLLATE "C" NOT NULL, -- of the grants, each between line feeds
	search     TEXT COLLATE "C" NOT NULL, -- lower case
	revision   BIGINT           NOT NULL,
	record     TEXT             NOT NULL,
	UNIQUE (scope_id, name)
);
CREATE INDEX credentials_listing ON credentials (scope_name, name);
CREATE INDEX credentials_by_id ON credentials (scope_id, id, deleted);

CREATE TABLE callers (
	id       TEXT COLLATE "C" PRIMARY KEY,
	name     TEXT COLLATE "C" NOT NULL UNIQUE,
	deleted  INTEGER          NOT NULL,
	search   TEXT COLLATE "C" NOT NULL,
	revision BIGINT           NOT NULL,
	record   TEXT             NOT NULL
);

CREATE TABLE operators (
	id       TEXT COLLATE "C" PRIMARY KEY,
	name     TEXT COLLATE "C" NOT NULL UNIQUE,
	deleted  INTEGER          NOT NULL,
	search   TEXT COLLATE "C" NOT NULL,
	revision BIGINT           NOT NULL,
	record   TEXT             NOT NULL
);

CREATE TABLE tokens (
	hash  TEXT COLLATE "C" PRIMARY KEY, -- hexadecimal
	kind  TEXT COLLATE "C" NOT NULL,    -- caller or operator
	owner TEXT COLLATE "C" NOT NULL     -- id
);
CREATE INDEX tokens_by_owner ON tokens (owner);

CREATE TABLE changes (
	number   BIGINT           PRIMARY KEY,
	seq      BIGINT           NOT NULL,
	kind     TEXT COLLATE "C" NOT NULL,
	id       TEXT COLLATE "C" NOT NULL,
	scope_id TEXT COLLATE "C" NOT NULL,
	stamp    UUID             NOT NULL DEFAULT gen_random_uuid() -- tells this history from that of a backup that was restored
);
CREATE INDEX changes_by_seq ON changes (seq);

-- Audit events of commits that the audit log may not have yet.
CREATE TABLE events (
	number BIGINT           PRIMARY KEY,
	node   TEXT COLLATE "C" NOT NULL, -- that is to deliver it
	since  BIGINT           NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, -- it is that node's to do
	event  TEXT             NOT NULL
);

-- How far the audit log of a node was read into the usage tables.
CREATE TABLE checkpoints (
	node     TEXT COLLATE "C" PRIMARY KEY,
	file     TEXT             NOT NULL,
	position BIGINT           NOT NULL
);

-- Times are microseconds since 1970, 0 for none.
CREATE TABLE usage (
	credential_id TEXT COLLATE "C" PRIMARY KEY,
	uses          BIGINT           NOT NULL,
	refused       BIGINT           NOT NULL,
	last_at       BIGINT           NOT NULL,
	last_caller   TEXT COLLATE "C" NOT NULL,
	last_user     TEXT COLLATE "C" NOT NULL,
	last_host     TEXT COLLATE "C" NOT NULL,
	last_status   BIGINT           NOT NULL
);

CREATE TABLE usage_callers (
	credential_id TEXT COLLATE "C" NOT NULL,
	caller        TEXT COLLATE "C" NOT NULL,
	uses          BIGINT           NOT NULL,
	last_at       BIGINT           NOT NULL,
	last_host     TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (credential_id, caller)
);

CREATE TABLE usage_hours (
	credential_id TEXT COLLATE "C" NOT NULL, -- '' for all together
	hour          BIGINT           NOT NULL,
	uses          BIGINT           NOT NULL,
	refused       BIGINT           NOT NULL,
	failed        BIGINT           NOT NULL,
	PRIMARY KEY (credential_id, hour)
);
CREATE INDEX usage_hours_by_hour ON usage_hours (hour);
