-- What was used and may be used one time.
CREATE TABLE spent (
	id    TEXT    PRIMARY KEY, -- hexadecimal
	until INTEGER NOT NULL     -- microseconds since 1970: from then on it is of no use to anybody
) WITHOUT ROWID;
CREATE INDEX spent_by_until ON spent (until);
