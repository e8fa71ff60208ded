-- What a restore wrote, for its undo; and how its writes complete and are verified, PV by PV.

CREATE TABLE restore_touched (
    backup_id integer PRIMARY KEY REFERENCES snapshot ON DELETE CASCADE,
    touched   bytea   NOT NULL
);
COMMENT ON TABLE restore_touched IS 'Which PVs of a backup its restore has written. Absent: any may have been.';
COMMENT ON COLUMN restore_touched.touched IS 'A byte for each PV of the backup: 0 not written, 1 written, 2 may have been.';

ALTER TABLE pv
    ADD COLUMN completion double precision,
    ADD COLUMN verify     text NOT NULL DEFAULT 'setpoint' CHECK (verify IN ('setpoint', 'readback', 'no'));
ALTER TABLE pv ALTER COLUMN verify DROP DEFAULT;
COMMENT ON COLUMN pv.completion IS 'Seconds a write may take to complete; 0: not waited for; NULL: as the settings say.';
COMMENT ON COLUMN pv.verify IS 'What a restore reads to verify the PV.';
