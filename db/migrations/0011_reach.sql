-- How much of the machine each of two services reaches (`standby: true` in the settings), so that the one that reaches
-- clearly more can be the active one (`standby_prefer_s`).
--
-- A table of its own: who stands by must never keep the active one's lease waiting. Not logged: it is written every
-- second, and after a crash of the server nothing of it is known.
CREATE UNLOGGED TABLE service_reach (
    service   text        PRIMARY KEY,
    connected integer     NOT NULL,
    total     integer     NOT NULL,
    told      timestamptz NOT NULL
) WITH (fillfactor = 10);

COMMENT ON TABLE service_reach IS 'How much of the machine each of two services reaches, told every second.';
COMMENT ON COLUMN service_reach.service IS 'application_name of its connections.';
COMMENT ON COLUMN service_reach.connected IS 'PVs of the catalogue that are connected.';
COMMENT ON COLUMN service_reach.total IS 'PVs of the catalogue.';
COMMENT ON COLUMN service_reach.told IS 'When, by the clock of this server.';

ALTER TABLE service_lease ADD COLUMN handed_over timestamptz;

COMMENT ON COLUMN service_lease.handed_over IS 'When an active one last gave way to one that reached more.';
