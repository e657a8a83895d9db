-- How many requests were refused, by code and hour. As in usage_hours, credential_id is a credential's id, the name of a scope for all that was
-- ever in it together, or '' for everything together.
CREATE TABLE refusals (
	credential_id TEXT COLLATE "C" NOT NULL,
	hour          BIGINT           NOT NULL,
	code          TEXT COLLATE "C" NOT NULL,
	refused       BIGINT           NOT NULL,
	PRIMARY KEY (credential_id, hour, code)
);
CREATE INDEX refusals_by_hour ON refusals (hour);
