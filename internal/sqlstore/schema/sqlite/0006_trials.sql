-- What trials would have refused.
CREATE TABLE trials (
	trial   TEXT    NOT NULL, -- id
	host    TEXT    NOT NULL, -- and port; '' for those beyond the many that are told apart
	code    TEXT    NOT NULL,
	uses    INTEGER NOT NULL,
	last_at INTEGER NOT NULL,
	PRIMARY KEY (trial, host, code)
);
CREATE INDEX trials_by_time ON trials (last_at);
