-- What was used and may be used one time.
CREATE TABLE spent (
	id    TEXT COLLATE "C" PRIMARY KEY, -- hexadecimal
	until BIGINT           NOT NULL     -- microseconds since 1970: from then on it is of no use to anybody
);
CREATE INDEX spent_by_until ON spent (until);
