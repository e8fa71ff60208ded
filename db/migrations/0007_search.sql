-- What LIST:TEXT searches, in small letters once and for all: making them for every row took most of the time.
ALTER TABLE snapshot ADD COLUMN search text GENERATED ALWAYS AS (lower(title || E'\n' || comment)) STORED;
COMMENT ON COLUMN snapshot.search IS 'Title and comment in small letters, for searching.';
