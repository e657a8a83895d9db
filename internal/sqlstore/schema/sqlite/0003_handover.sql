-- One row once this store has been moved from or into.
CREATE TABLE handover (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	move   TEXT    NOT NULL, -- names the move; both stores have the same
	state  TEXT    NOT NULL, -- leaving or left, arriving or arrived
	copied INTEGER NOT NULL  -- arriving: what the former store committed up to this number is here
);
