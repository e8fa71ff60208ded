-- The views, made anew by each `migrate` that applies a migration: a change of theirs comes with one.

-- One row a value.
CREATE OR REPLACE VIEW snapshot_value AS
SELECT
    chunk.snapshot_id,
    channel.name AS pv,
    CASE WHEN one.setpoint THEN 'setpoint' ELSE 'readback' END AS role,
    (ARRAY['value', 'not read', 'disconnected', 'timeout', 'no read access', 'error', 'ioc open',
        'no worker', 'cut', 'inexact', 'away'])[one.state + 1]
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
