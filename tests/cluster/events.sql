SET search_path = app;

CREATE TABLE ddl_log (id serial PRIMARY KEY, event text, tag text, object text);
CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_EVENT = 'ddl_command_end' THEN
        INSERT INTO app.ddl_log (event, tag, object)
            SELECT TG_EVENT, TG_TAG, object_identity FROM pg_event_trigger_ddl_commands();
    ELSIF TG_EVENT = 'sql_drop' THEN
        INSERT INTO app.ddl_log (event, tag, object)
            SELECT TG_EVENT, TG_TAG, object_identity FROM pg_event_trigger_dropped_objects() WHERE original;
    ELSE
        INSERT INTO app.ddl_log (event, tag) VALUES (TG_EVENT, TG_TAG);
    END IF;
END
$$;
CREATE EVENT TRIGGER "log 'ends'" ON ddl_command_end EXECUTE PROCEDURE log_ddl();
CREATE EVENT TRIGGER log_starts ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE PROCEDURE log_ddl();
CREATE EVENT TRIGGER log_drops ON sql_drop EXECUTE PROCEDURE log_ddl();
CREATE EVENT TRIGGER log_rewrites ON table_rewrite EXECUTE PROCEDURE log_ddl();
CREATE EVENT TRIGGER switched_off ON ddl_command_end EXECUTE PROCEDURE log_ddl();
ALTER EVENT TRIGGER switched_off DISABLE;
ALTER EVENT TRIGGER log_rewrites ENABLE ALWAYS;
CREATE EVENT TRIGGER on_replica ON ddl_command_start EXECUTE PROCEDURE log_ddl();
ALTER EVENT TRIGGER on_replica ENABLE REPLICA;
\if :v17
CREATE TABLE login_log (id serial PRIMARY KEY, who name);
CREATE FUNCTION is_logged(who name) RETURNS boolean LANGUAGE sql STABLE AS
\if :login_trigger
    'SELECT true';
\else
    'SELECT NOT rolsuper FROM pg_roles WHERE rolname = who';
\endif
CREATE FUNCTION log_login() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF app.is_logged(session_user) THEN
        INSERT INTO app.login_log (who) VALUES (session_user);
    END IF;
END
$$;
CREATE EVENT TRIGGER log_logins ON login EXECUTE PROCEDURE log_login();
\endif
CREATE TABLE logged (id integer, word text);
ALTER TABLE logged ALTER id TYPE bigint;
ALTER TABLE logged DROP word;
DROP TABLE logged;
SELECT proof.try('CREATE TABLE app.logged (id integer)');
SELECT proof.try('DROP TABLE app.logged');
COMMENT ON EVENT TRIGGER log_drops IS 'it''s an event trigger';
