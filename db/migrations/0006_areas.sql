-- Areas: parts of the catalogue that other processes, the workers, read and write.
--
-- The service writes which channels an area has, and asks for parts of its jobs; pgqueuer delivers them, with the id of
-- the part as payload. A worker that has claimed one answers in its row. What is under way is worth nothing after a crash
-- of the server, so it is not logged.

CREATE TABLE area (
    name     text    PRIMARY KEY,
    position integer NOT NULL,
    version  bigint  NOT NULL,
    names    text    NOT NULL
);
COMMENT ON TABLE area IS 'Parts of the catalogue that workers read and write.';
COMMENT ON COLUMN area.version IS 'Grows with every change of `names`: never the same for others.';
COMMENT ON COLUMN area.names IS 'Its channels, one a line, in the order of the catalogue.';

CREATE UNLOGGED TABLE area_worker (
    id      integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    area    text        NOT NULL,
    process text        NOT NULL,
    seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    version bigint      NOT NULL DEFAULT 0,
    live_no bigint      NOT NULL DEFAULT 0,
    connected integer   NOT NULL DEFAULT 0,
    live    bytea       NOT NULL DEFAULT '',
    iocs    jsonb       NOT NULL DEFAULT '[]'
) WITH (fillfactor = 50);
COMMENT ON TABLE area_worker IS 'Who works, one row a worker and area.';
COMMENT ON COLUMN area_worker.seen IS 'Renewed every second while the worker lives.';
COMMENT ON COLUMN area_worker.version IS 'area.version of the channels that it holds.';
COMMENT ON COLUMN area_worker.connected IS 'How many of them are connected: who has fewer lets others go first.';
COMMENT ON COLUMN area_worker.live IS 'What it knows of its channels: columns (numpy .npz), as of `live_no`.';

CREATE UNLOGGED TABLE area_part (
    id         uuid        PRIMARY KEY,
    area       text        NOT NULL,
    generation bigint      NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('read', 'write', 'refresh')),
    version    bigint      NOT NULL,
    body       bytea       NOT NULL,
    timeout_s  double precision,
    asked      timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen       timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled  boolean     NOT NULL DEFAULT false,
    worker_id  integer,
    worked     timestamptz,
    done       integer     NOT NULL DEFAULT 0,
    finished   boolean     NOT NULL DEFAULT false,
    error      text        NOT NULL DEFAULT '',
    result     bytea
);
COMMENT ON TABLE area_part IS 'Parts of running jobs. Gone when the job has its answer.';
COMMENT ON COLUMN area_part.generation IS 'service_lease.generation of who asked: nobody else''s writes are begun.';
COMMENT ON COLUMN area_part.version IS 'area.version that the rows in `body` are counted in.';
COMMENT ON COLUMN area_part.body IS 'Rows, and values to write: columns (numpy .npz).';
COMMENT ON COLUMN area_part.seen IS 'Renewed while who asked still waits.';
COMMENT ON COLUMN area_part.worker_id IS 'Who has claimed it. What is not claimed has not begun.';
COMMENT ON COLUMN area_part.worked IS 'Renewed while the worker goes on with it.';

-- They are numbers that differ: compressing them costs more than it saves.
ALTER TABLE area_part ALTER body SET STORAGE EXTERNAL, ALTER result SET STORAGE EXTERNAL;

COMMENT ON COLUMN snapshot_chunk.state IS '0 value, 1 not read, 2 disconnected, 3 no answer in time, 4 no read access, '
    '5 refused by the IOC, 6 skipped because its IOC did not answer before, 7 its area has no worker that answers';

-- The same as before, with one more state.
CREATE OR REPLACE VIEW snapshot_value AS
SELECT
    chunk.snapshot_id,
    channel.name AS pv,
    CASE WHEN one.setpoint THEN 'setpoint' ELSE 'readback' END AS role,
    (ARRAY['value', 'not read', 'disconnected', 'timeout', 'no read access', 'error', 'ioc open',
        'no worker'])[one.state + 1]
        AS state,
    (ARRAY['string', 'short', 'float', 'enum', 'char', 'long', 'double'])[one.dbf + 1] AS type,
    one.count,
    CASE WHEN one.state = 0 AND one.dbf <> 0 AND one.count = 1 AND meta.count <= 1 THEN one.number END AS number,
    CASE WHEN one.dbf = 3 AND one.state = 0 AND one.raw IS NULL THEN meta.labels[one.number::integer + 1] END AS label,
    CASE WHEN one.dbf = 4 OR one.dbf = 0 AND one.count = 1 AND meta.count <= 1 THEN squirrel_text(one.raw) END AS text,
    CASE WHEN one.count <> 1 OR meta.count > 1 THEN squirrel_numbers(one.dbf, one.raw) END AS numbers,
    CASE WHEN one.dbf = 0 AND (one.count <> 1 OR meta.count > 1) THEN squirrel_texts(one.raw) END AS texts,
    nullif(meta.units, '') AS units,
    CASE WHEN one.state = 0 THEN one.severity END AS severity,
    CASE WHEN one.state = 0 THEN one.status END AS status,
    CASE WHEN one.state = 0
        THEN to_timestamp(one.second) + one.nanosecond / 1000 * interval '1 microsecond' END AS stamp,
    CASE WHEN one.state = 0 THEN (one.second * 1000000000::numeric + one.nanosecond)::bigint END AS stamp_ns
FROM snapshot_chunk AS chunk
JOIN snapshot ON snapshot.id = chunk.snapshot_id
JOIN channel_list_chunk AS list ON list.list_id = snapshot.list_id AND list.chunk_no = chunk.chunk_no
CROSS JOIN LATERAL (
    SELECT
        list.channel || '{}'::integer[] AS channel,
        chunk.state || '{}'::smallint[] AS state,
        chunk.dbf || '{}'::smallint[] AS dbf,
        chunk.count || '{}'::integer[] AS count,
        chunk.severity || '{}'::smallint[] AS severity,
        chunk.status || '{}'::smallint[] AS status,
        chunk.second || '{}'::bigint[] AS second,
        chunk.nanosecond || '{}'::integer[] AS nanosecond,
        chunk.number || '{}'::double precision[] AS number,
        chunk.meta || '{}'::integer[] AS meta,
        chunk.side_row || '{}'::integer[] AS side_row,
        chunk.side_end || '{}'::integer[] AS side_end,
        chunk.side || ''::bytea AS side
    OFFSET 0
) AS whole
CROSS JOIN LATERAL generate_series(1, cardinality(whole.channel)) AS i
CROSS JOIN LATERAL (
    SELECT
        whole.channel[i] AS channel_id,
        i <= list.setpoints AS setpoint,
        whole.state[i] AS state,
        whole.dbf[i] AS dbf,
        whole.count[i] AS count,
        whole.severity[i] AS severity,
        whole.status[i] AS status,
        whole.second[i] AS second,
        whole.nanosecond[i] AS nanosecond,
        whole.number[i] AS number,
        whole.meta[i] AS meta_id,
        (SELECT CASE WHEN whole.side_row[entry] = i - 1 THEN substring(
            whole.side,
            coalesce(whole.side_end[entry - 1], 0) + 1,
            whole.side_end[entry] - coalesce(whole.side_end[entry - 1], 0)) END
        FROM width_bucket(i - 1, whole.side_row) AS entry) AS raw
    OFFSET 0
) AS one
LEFT JOIN channel ON channel.id = one.channel_id
LEFT JOIN meta ON meta.id = one.meta_id;
