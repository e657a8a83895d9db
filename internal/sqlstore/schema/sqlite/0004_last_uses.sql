-- When callers and their tokens last sent a request: microseconds since 1970.
CREATE TABLE last_uses (
	subject TEXT    PRIMARY KEY, -- app:<name>, or the id of a token
	at      INTEGER NOT NULL
);
