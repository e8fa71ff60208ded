-- More reasons why a value is missing. The view that names them is in ../views.sql.
COMMENT ON COLUMN snapshot_chunk.state IS '0 value, 1 not read, 2 disconnected, 3 no answer in time, 4 no read access, '
    '5 refused by the IOC, 6 skipped because its IOC did not answer before, 7 its area has no worker that answers, '
    '8 text cut at 39 characters, 9 integer beyond 2^53, 10 known to be away';
