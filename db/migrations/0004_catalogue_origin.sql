-- Where the entries of the catalogue come from: it is changed while the service runs, and the files are read again.

ALTER TABLE pv
    ADD COLUMN origin     text    NOT NULL DEFAULT 'file' CHECK (origin IN ('file', 'added')),
    ADD COLUMN file_entry jsonb,
    ADD COLUMN removed    boolean NOT NULL DEFAULT false CHECK (NOT removed OR retired_at IS NOT NULL);
ALTER TABLE pv ALTER COLUMN origin DROP DEFAULT;
ALTER TABLE pv ALTER COLUMN removed DROP DEFAULT;
COMMENT ON COLUMN pv.origin IS 'file: stands in a catalogue file. added: by hand, and stays until it is removed by hand.';
COMMENT ON COLUMN pv.file_entry IS 'What the file says of an entry that was changed by hand.';
COMMENT ON COLUMN pv.removed IS 'Removed by hand although it stands in a file: stays away until it is added by hand.';

ALTER TABLE catalogue_version
    DROP COLUMN digest,
    ALTER COLUMN list_id DROP NOT NULL,
    ADD COLUMN made_by text NOT NULL DEFAULT '',
    ADD COLUMN summary text NOT NULL DEFAULT '';
COMMENT ON COLUMN catalogue_version.list_id IS 'Its channels; NULL once a newer version has taken its place.';
COMMENT ON COLUMN catalogue_version.made_by IS 'Who changed it, and with what.';
COMMENT ON COLUMN catalogue_version.summary IS 'What has changed, in words.';
