-- What a cluster has been through: files, numbers and rows that a fresh one never shows.
SET search_path = app;

BEGIN;
UPDATE plain SET word = 'rolled back';
INSERT INTO plain (word) SELECT 'rolled back' FROM generate_series(1, 500);
CREATE TABLE rolled_back (id integer);
ROLLBACK;
BEGIN;
SAVEPOINT one;
INSERT INTO child VALUES (2000, 1, NULL);
SAVEPOINT two;
DELETE FROM child WHERE id < 50;
ROLLBACK TO two;
INSERT INTO child VALUES (2001, 1, NULL);
RELEASE one;
COMMIT;
BEGIN;
INSERT INTO child VALUES (2002, 2, NULL);
PREPARE TRANSACTION 'it''s committed';
COMMIT PREPARED 'it''s committed';
BEGIN;
DELETE FROM child;
PREPARE TRANSACTION 'taken back';
ROLLBACK PREPARED 'taken back';
DO $$
BEGIN
    FOR n IN 1..200 LOOP
        BEGIN
            UPDATE app.locked SET amount = amount + 10 WHERE id = n;
            IF n % 3 = 0 THEN
                RAISE 'undo';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT count(*) FROM (SELECT FROM plain WHERE id < 100 FOR UPDATE) t;
SELECT count(*) FROM (SELECT FROM plain WHERE id BETWEEN 100 AND 200 FOR NO KEY UPDATE) t;

VACUUM FULL plain;
VACUUM FULL toasted;
CREATE TABLE truncated (id serial PRIMARY KEY, word text);
INSERT INTO truncated (word) SELECT repeat(md5(n::text), 100) FROM generate_series(1, 100) n;
TRUNCATE truncated RESTART IDENTITY;
INSERT INTO truncated (word) VALUES ('after');
REINDEX TABLE added_defaults;
REINDEX INDEX indexed_gin_doc;
CLUSTER indexed;
CLUSTER booking USING booking_span;
VACUUM (FREEZE) parent;
VACUUM (ANALYZE) indexed;
VACUUM (ANALYZE) child;
CREATE TABLE rewritten AS SELECT n AS id, md5(n::text) AS word FROM generate_series(1, 100) n;
ALTER TABLE rewritten ALTER id TYPE bigint;
CREATE TABLE vacuumed_partly AS SELECT n AS id, md5(n::text) AS word FROM generate_series(1, 3000) n;
VACUUM vacuumed_partly;
UPDATE vacuumed_partly SET word = 'changed' WHERE id % 1000 = 0;
CREATE TABLE truncated_by_vacuum AS SELECT n AS id FROM generate_series(1, 3000) n;
DELETE FROM truncated_by_vacuum WHERE id > 5;
VACUUM truncated_by_vacuum;
\if :v12
REINDEX INDEX CONCURRENTLY indexed_id;
REINDEX TABLE CONCURRENTLY toasted;
REINDEX TABLE CONCURRENTLY refreshed;
REINDEX TABLE CONCURRENTLY parent;
\endif
\if :v14
REINDEX (TABLESPACE ts_a) INDEX indexed_hash;
REINDEX INDEX CONCURRENTLY by_range_id;
\endif

VACUUM FULL pg_class;
VACUUM FULL pg_attribute;
VACUUM FULL pg_proc;
VACUUM FULL pg_type;
VACUUM FULL pg_largeobject;
VACUUM FULL pg_largeobject_metadata;
