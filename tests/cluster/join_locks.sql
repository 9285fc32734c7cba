SET search_path = app;
SELECT pg_advisory_lock(4711);
DO $$
BEGIN
    FOR attempt IN 1..3000 LOOP
        IF (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted) = 2 THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE 'the other sessions do not lock their rows';
END
$$;
-- Each subtransaction makes a multixact of its own: enough of them for a second page of both SLRUs.
DO $$
BEGIN
    FOR n IN 1..2200 LOOP
        BEGIN
            PERFORM FROM locked WHERE id = n FOR KEY SHARE;
            IF n % 10 = 0 THEN
                RAISE 'undo this one';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END
$$;
-- Rows that are locked by one transaction and changed by another.
UPDATE locked SET amount = amount + 1 WHERE id BETWEEN 2401 AND 2500;
BEGIN;
UPDATE locked SET amount = amount + 1 WHERE id BETWEEN 2501 AND 2550;
ROLLBACK;
BEGIN;
SELECT count(*) FROM (SELECT FROM locked WHERE id BETWEEN 2551 AND 2600 FOR KEY SHARE) t;
SAVEPOINT s;
UPDATE locked SET amount = amount + 2 WHERE id BETWEEN 2551 AND 2600;
ROLLBACK TO s;
UPDATE locked SET amount = amount + 3 WHERE id BETWEEN 2551 AND 2575;
COMMIT;
