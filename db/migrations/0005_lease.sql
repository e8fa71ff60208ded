-- Which of two services on this database is the active one (`standby: true` in the settings).
--
-- One row. Whoever is active extends `expires` about every second; when it has passed, by the clock of this server, the
-- other one may take over, with the next generation. `generation` is the key on purpose: a transaction that locks its
-- row FOR KEY SHARE does not keep a renewal waiting, but it does keep a takeover waiting.
CREATE TABLE service_lease (
    generation bigint      PRIMARY KEY,
    holder     text        NOT NULL,
    expires    timestamptz NOT NULL
) WITH (fillfactor = 10);

CREATE UNIQUE INDEX service_lease_one ON service_lease ((true));

INSERT INTO service_lease VALUES (0, '', 'epoch');

COMMENT ON TABLE service_lease IS 'Which of two services is the active one; one row.';
COMMENT ON COLUMN service_lease.generation IS 'Counts takeovers; a transaction of an older one cannot be committed.';
COMMENT ON COLUMN service_lease.holder IS 'application_name of the active one''s connections; empty when it has gone.';
COMMENT ON COLUMN service_lease.expires IS 'When the other may take over; ''epoch'' when the active one has gone.';
