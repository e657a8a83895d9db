-- Subjects with view or more stand in credentials.subjects once again behind a "!", between line feeds like the others: so that the
-- index of listings also tells who may see what.
UPDATE credentials SET subjects = subjects || COALESCE((
	SELECT group_concat('!' || json_extract(g.value, '$.subject') || char(10), '')
	FROM json_each(record, '$.grants') g
	WHERE json_extract(g.value, '$.level') <> 'use'), '');
