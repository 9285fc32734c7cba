-- Looks for damage in every heap and index of a database; run by `prove` before and after its writes.
CREATE EXTENSION amcheck SCHEMA pg_catalog;
CREATE EXTENSION pg_visibility SCHEMA pg_catalog;
DO $$
DECLARE
    r record;
    damage text;
BEGIN
    FOR r IN
        SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
            JOIN pg_am a ON a.oid = c.relam
        WHERE c.relkind = 'i' AND a.amname = 'btree' AND i.indisvalid AND i.indisready
    LOOP
        BEGIN
            PERFORM bt_index_check(r.name, true);
        EXCEPTION WHEN others THEN
            RAISE 'index %: %', r.name, SQLERRM;
        END;
    END LOOP;
    FOR r IN
        SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_am a ON a.oid = c.relam
        WHERE c.relkind IN ('r', 'm', 't') AND a.amname = 'heap'
    LOOP
        SELECT string_agg(format('block %s offset %s column %s: %s', blkno, offnum, attnum, msg), E'\n')
            INTO damage FROM verify_heapam(r.name, check_toast := true);
        IF damage IS NOT NULL THEN
            RAISE 'table %: %', r.name, damage;
        END IF;
        IF EXISTS (SELECT FROM pg_check_visible(r.name)) OR EXISTS (SELECT FROM pg_check_frozen(r.name)) THEN
            RAISE 'table %: the visibility map promises too much', r.name;
        END IF;
    END LOOP;
    IF to_regprocedure('gin_index_check(regclass)') IS NOT NULL THEN
        FOR r IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_am a ON a.oid = c.relam
            WHERE c.relkind = 'i' AND a.amname = 'gin'
        LOOP
            EXECUTE format('SELECT gin_index_check(%L)', r.name);
        END LOOP;
    END IF;
END
$$;
DROP EXTENSION amcheck, pg_visibility;
