-- The view snapshot_value: one row a stored value, for people and dashboards that speak SQL.

-- CA strings are bytes: UTF-8 where they are, else LATIN1, up to the first NUL. Never raises.
CREATE FUNCTION squirrel_text(raw bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN (
    SELECT CASE
        -- Well-formed UTF-8 (RFC 3629, section 4), each byte seen as a LATIN1 character.
        WHEN latin ~ ('^([\u0001-\u007f]|[\u00c2-\u00df][\u0080-\u00bf]|\u00e0[\u00a0-\u00bf][\u0080-\u00bf]'
            || '|[\u00e1-\u00ec\u00ee\u00ef][\u0080-\u00bf]{2}|\u00ed[\u0080-\u009f][\u0080-\u00bf]'
            || '|\u00f0[\u0090-\u00bf][\u0080-\u00bf]{2}|[\u00f1-\u00f3][\u0080-\u00bf]{3}'
            || '|\u00f4[\u0080-\u008f][\u0080-\u00bf]{2})*$')
        THEN convert_from(bytes, 'UTF8')
        ELSE latin END
    FROM (
        SELECT substring(raw, 1, coalesce(nullif(position('\x00'::bytea IN raw), 0) - 1, length(raw))) AS bytes OFFSET 0
    ) AS cut CROSS JOIN LATERAL (SELECT convert_from(bytes, 'LATIN1') AS latin OFFSET 0) AS seen
);
COMMENT ON FUNCTION squirrel_text IS 'A CA string as text.';

-- These two are not STRICT, which would keep PostgreSQL from putting them inline.

-- Unsigned, little endian. Eight bytes are two's complement.
CREATE FUNCTION squirrel_bits(raw bytea, start integer, size integer) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE size
    WHEN 1 THEN get_byte(raw, start)::bigint
    WHEN 2 THEN (get_byte(raw, start) | (get_byte(raw, start + 1) << 8))::bigint
    ELSE (get_byte(raw, start) | (get_byte(raw, start + 1) << 8) | (get_byte(raw, start + 2) << 16))::bigint
        | (get_byte(raw, start + 3)::bigint << 24) | CASE size WHEN 4 THEN 0 ELSE
            (get_byte(raw, start + 4)::bigint << 32) | (get_byte(raw, start + 5)::bigint << 40)
            | (get_byte(raw, start + 6)::bigint << 48) | (get_byte(raw, start + 7)::bigint << 56) END
    END;

-- The number that IEEE 754 makes of sign, exponent and fraction; exact, denormal numbers included.
CREATE FUNCTION squirrel_ieee(negative boolean, exponent integer, fraction double precision, widest integer)
RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE
    WHEN exponent = widest AND fraction <> 0 THEN 'NaN'::double precision
    WHEN exponent = widest AND negative THEN '-Infinity'::double precision
    WHEN exponent = widest THEN 'Infinity'::double precision
    ELSE (CASE WHEN negative THEN -1 ELSE 1 END)::double precision
        * ((CASE exponent WHEN 0 THEN 0 ELSE 1 END) + fraction)
        * power(2::double precision, greatest(exponent, 1) - widest / 2)
    END;

CREATE FUNCTION squirrel_numbers(dbf smallint, raw bytea) RETURNS double precision[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN CASE dbf
    WHEN 1 THEN ARRAY(SELECT ((squirrel_bits(raw, i, 2) # 32768) - 32768)::double precision
        FROM generate_series(0, length(raw) - 2, 2) AS i)
    WHEN 2 THEN ARRAY(SELECT squirrel_ieee(b >= 2147483648, ((b >> 23) & 255)::integer,
            (b & 8388607) / '8388608'::double precision, 255)
        FROM (SELECT squirrel_bits(raw, i, 4) AS b FROM generate_series(0, length(raw) - 4, 4) AS i OFFSET 0) AS e)
    WHEN 3 THEN ARRAY(SELECT squirrel_bits(raw, i, 2)::double precision
        FROM generate_series(0, length(raw) - 2, 2) AS i)
    WHEN 4 THEN ARRAY(SELECT get_byte(raw, i)::double precision FROM generate_series(0, length(raw) - 1) AS i)
    WHEN 5 THEN ARRAY(SELECT ((squirrel_bits(raw, i, 4) # 2147483648) - 2147483648)::double precision
        FROM generate_series(0, length(raw) - 4, 4) AS i)
    WHEN 6 THEN ARRAY(SELECT squirrel_ieee(b < 0, ((b >> 52) & 2047)::integer,
            (b & 4503599627370495) / '4503599627370496'::double precision, 2047)
        FROM (SELECT squirrel_bits(raw, i, 8) AS b FROM generate_series(0, length(raw) - 8, 8) AS i OFFSET 0) AS e)
    END;
COMMENT ON FUNCTION squirrel_numbers IS 'The elements of an array of CA numbers; NULL for strings.';

CREATE FUNCTION squirrel_texts(raw bytea) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN
    ARRAY(SELECT squirrel_text(substring(raw, i, 40)) FROM generate_series(1, length(raw), 40) AS i);
COMMENT ON FUNCTION squirrel_texts IS 'The elements of an array of CA strings.';

-- How it is fast: `whole` takes each array out of its chunk once, so that `one` finds an element in no time; the OFFSET 0
-- keep them apart. Columns that nobody asks for are not computed, and count(*) looks at no value at all.
CREATE VIEW snapshot_value AS
SELECT
    chunk.snapshot_id,
    channel.name AS pv,
    CASE WHEN one.setpoint THEN 'setpoint' ELSE 'readback' END AS role,
    (ARRAY['value', 'not read', 'disconnected', 'timeout', 'no read access', 'error', 'ioc open'])[one.state + 1]
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

COMMENT ON VIEW snapshot_value IS 'One row a stored value. `number` of an enum is its index, `label` its name.';
COMMENT ON COLUMN snapshot_value.text IS 'A string, or a char array as text.';
COMMENT ON COLUMN snapshot_value.numbers IS 'The elements of an array of numbers.';
COMMENT ON COLUMN snapshot_value.texts IS 'The elements of an array of strings.';
COMMENT ON COLUMN snapshot_value.stamp IS 'Time stamp of the IOC, to the microsecond; stamp_ns is exact: since 1970, UTC.';
