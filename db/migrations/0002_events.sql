-- Every committed change is announced on channel squirrel_event, as {"kind": ..., "id": ..., "op": ...}.

CREATE FUNCTION squirrel_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('squirrel_event', json_build_object(
        'kind', TG_ARGV[0],
        'id', CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END,
        'op', lower(TG_OP))::text);
    RETURN NULL;
END $$;

CREATE FUNCTION squirrel_setting_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('squirrel_event', json_build_object('kind', 'setting', 'id', NEW.key, 'op', lower(TG_OP))::text);
    RETURN NULL;
END $$;

CREATE TRIGGER squirrel_event AFTER INSERT OR UPDATE OR DELETE ON snapshot
    FOR EACH ROW EXECUTE FUNCTION squirrel_event('snapshot');
CREATE TRIGGER squirrel_event AFTER INSERT ON catalogue_version
    FOR EACH ROW EXECUTE FUNCTION squirrel_event('catalogue');
CREATE TRIGGER squirrel_event AFTER INSERT OR UPDATE OR DELETE ON job
    FOR EACH ROW EXECUTE FUNCTION squirrel_event('job');
CREATE TRIGGER squirrel_event AFTER INSERT OR UPDATE ON setting
    FOR EACH ROW EXECUTE FUNCTION squirrel_setting_event();
