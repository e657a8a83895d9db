-- How many requests were refused, by code and hour. As in usage_hours, credential_id is a credential's id, the name of a scope for all that was
-- ever in it together, or '' for everything together.
CREATE TABLE refusals (
	credential_id TEXT    NOT NULL,
	hour          INTEGER NOT NULL,
	code          TEXT    NOT NULL,
	refused       INTEGER NOT NULL,
	PRIMARY KEY (credential_id, hour, code)
);
CREATE INDEX refusals_by_hour ON refusals (hour);
