SET search_path = app;
BEGIN;
SELECT count(*) FROM (SELECT FROM locked WHERE id BETWEEN 50 AND 2600 FOR KEY SHARE) t;
DO $$
BEGIN
    FOR attempt IN 1..3000 LOOP
        IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND granted) THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'nobody joins the row locks';
END
$$;
SELECT pg_advisory_xact_lock(4711);
COMMIT;
