-- Where several processes share the records, each has an outbox and a checkpoint of its own. Here there is one, without a name.
ALTER TABLE events ADD COLUMN node TEXT NOT NULL DEFAULT '';

-- How far the audit log of a node was read into the usage tables.
CREATE TABLE checkpoints (
	node     TEXT    PRIMARY KEY,
	file     TEXT    NOT NULL,
	position INTEGER NOT NULL
);
INSERT INTO checkpoints SELECT '', checkpoint_file, checkpoint_offset FROM instance WHERE checkpoint_file <> '' OR checkpoint_offset <> 0;
ALTER TABLE instance DROP COLUMN checkpoint_file;
ALTER TABLE instance DROP COLUMN checkpoint_offset;
