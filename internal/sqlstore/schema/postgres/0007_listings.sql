-- What listings of credentials look through, without the records, which are many times as large: a search that reads every row reads
-- few pages. The database keeps it itself, so that nothing that writes credentials can forget it, not even an older version.

-- The subjects of a credential's grants, each between line feeds, and those with view or more once again behind a "!".
CREATE FUNCTION subjects_of(record TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
	SELECT E'\n' || COALESCE(string_agg((g ->> 'subject') || E'\n' || CASE g ->> 'level' WHEN 'use' THEN '' ELSE '!' || (g ->> 'subject') || E'\n' END, ''), '')
	FROM jsonb_array_elements(CASE jsonb_typeof(record::jsonb -> 'grants') WHEN 'array' THEN record::jsonb -> 'grants' ELSE '[]' END) g
$$;

UPDATE credentials SET subjects = subjects_of(record);

CREATE TABLE listings (
	id         TEXT COLLATE "C" PRIMARY KEY REFERENCES credentials (id) ON DELETE CASCADE,
	scope_name TEXT COLLATE "C" NOT NULL,
	name       TEXT COLLATE "C" NOT NULL,
	deleted    INTEGER          NOT NULL,
	kind       TEXT COLLATE "C" NOT NULL,
	subjects   TEXT COLLATE "C" NOT NULL,
	search     TEXT COLLATE "C" NOT NULL
);
INSERT INTO listings SELECT id, scope_name, name, deleted, kind, subjects_of(record), search FROM credentials ORDER BY scope_name, name;
CREATE INDEX listings_order ON listings (scope_name, name);

CREATE FUNCTION list_credential() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO listings VALUES (NEW.id, NEW.scope_name, NEW.name, NEW.deleted, NEW.kind, subjects_of(NEW.record), NEW.search)
	ON CONFLICT (id) DO UPDATE SET scope_name = excluded.scope_name, name = excluded.name, deleted = excluded.deleted,
		kind = excluded.kind, subjects = excluded.subjects, search = excluded.search
		WHERE listings IS DISTINCT FROM excluded;
	RETURN NULL;
END $$;
CREATE TRIGGER list_credential AFTER INSERT OR UPDATE ON credentials FOR EACH ROW EXECUTE FUNCTION list_credential();
