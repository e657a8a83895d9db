-- What trials would have refused.
CREATE TABLE trials (
	trial   TEXT COLLATE "C" NOT NULL, -- id
	host    TEXT COLLATE "C" NOT NULL, -- and port; '' for those beyond the many that are told apart
	code    TEXT COLLATE "C" NOT NULL,
	uses    BIGINT           NOT NULL,
	last_at BIGINT           NOT NULL,
	PRIMARY KEY (trial, host, code)
);
CREATE INDEX trials_by_time ON trials (last_at);
