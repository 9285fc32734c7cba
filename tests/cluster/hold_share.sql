-- Holds row locks until join_locks.sql, which owns the advisory lock, has locked the same rows.
SET search_path = app;
BEGIN;
SELECT count(*) FROM (SELECT FROM locked WHERE id <= 2400 FOR SHARE) t;
SELECT count(*) FROM (SELECT FROM parent WHERE id <= 20 FOR SHARE) t;
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
