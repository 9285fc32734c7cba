-- Uses what a database holds, as its users will; run by `prove` in each. Any difference is an error.
SET extra_float_digits = 0;

-- What the old server answered.
SELECT to_regclass('proof.answer') IS NOT NULL AS has_proof \gset
\if :has_proof
DO $$
DECLARE
    question record;
    answered text;
    sequentially text;
    plan text;
BEGIN
    FOR question IN SELECT query, answer FROM proof.answer ORDER BY id LOOP
        answered := proof.rows_of(question.query);
        IF answered IS DISTINCT FROM question.answer THEN
            RAISE 'another answer to %: "%" instead of "%"', question.query, answered, question.answer;
        END IF;
    END LOOP;

    FOR question IN SELECT query FROM proof.index_scan ORDER BY id LOOP
        SET LOCAL enable_seqscan = off;
        SET LOCAL search_path = app, pg_catalog;
        plan := '';
        FOR answered IN EXECUTE 'EXPLAIN (COSTS OFF) ' || question.query LOOP
            plan := plan || answered || E'\n';
        END LOOP;
        IF plan !~ 'Index' THEN
            RAISE 'no index is used for %: %', question.query, plan;
        END IF;
        answered := proof.rows_of(question.query);
        SET LOCAL enable_seqscan = on;
        SET LOCAL enable_indexscan = off;
        SET LOCAL enable_indexonlyscan = off;
        SET LOCAL enable_bitmapscan = off;
        sequentially := proof.rows_of(question.query);
        SET LOCAL enable_indexscan = on;
        SET LOCAL enable_indexonlyscan = on;
        SET LOCAL enable_bitmapscan = on;
        IF answered IS DISTINCT FROM sequentially OR answered = '' THEN
            RAISE 'an index gives "%" and not "%" for %', answered, sequentially, question.query;
        END IF;
    END LOOP;
END
$$;

DO $$
DECLARE
    attempt record;
BEGIN
    FOR attempt IN SELECT statement, state FROM proof.refusal ORDER BY id LOOP
        BEGIN
            EXECUTE attempt.statement;
            RAISE 'not refused: %', attempt.statement USING ERRCODE = 'XX999';
        EXCEPTION WHEN others THEN
            IF SQLSTATE <> attempt.state THEN
                RAISE 'refused with % and not %: %: %', SQLSTATE, attempt.state, attempt.statement, SQLERRM;
            END IF;
        END;
    END LOOP;
END
$$;
\endif

-- Every sequence goes on where it stood.
DO $$
DECLARE
    s record;
    stood record;
    expected numeric;
    got bigint;
BEGIN
    FOR s IN SELECT seqrelid::regclass AS name, q.* FROM pg_sequence q LOOP
        EXECUTE format('SELECT last_value, is_called FROM %s', s.name) INTO stood;
        expected := stood.last_value::numeric + CASE WHEN stood.is_called THEN s.seqincrement ELSE 0 END;
        IF expected > s.seqmax OR expected < s.seqmin THEN
            CONTINUE WHEN NOT s.seqcycle;
            expected := CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END;
        END IF;
        got := nextval(s.name);
        IF got <> expected THEN
            RAISE 'sequence % goes on with % and not %', s.name, got, expected;
        END IF;
    END LOOP;
END
$$;

-- Every row of every table is locked and, where a column may be set and no constraint is not yet valid,
-- written; the large ones in part.
DO $$
DECLARE
    t record;
    n bigint;
    touched bigint;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS name, pg_relation_size(c.oid) < 100000000 AS whole, (
            SELECT quote_ident(attname) FROM pg_attribute
            WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attidentity = ''
                AND (to_jsonb(pg_attribute) ->> 'attgenerated') IS NOT DISTINCT FROM
                    CASE WHEN to_jsonb(pg_attribute) ? 'attgenerated' THEN '' END
                AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c' AND NOT convalidated)
            ORDER BY attnum DESC LIMIT 1) AS writable
        FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
        WHERE c.relkind = 'r' AND s.nspname !~ '^pg_' AND s.nspname <> 'information_schema'
    LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM ONLY %s WHERE %s FOR UPDATE) t', t.name,
            CASE WHEN t.whole THEN 'true' ELSE 'id % 1000 = 1' END) INTO n;
        CONTINUE WHEN t.writable IS NULL;
        EXECUTE format('UPDATE ONLY %s SET %s = %2$s WHERE %s', t.name, t.writable,
            CASE WHEN t.whole THEN 'true' ELSE 'id % 1000 = 1' END);
        GET DIAGNOSTICS touched = ROW_COUNT;
        IF touched <> n THEN
            RAISE '% of % rows of % were written', touched, n, t.name;
        END IF;
    END LOOP;
END
$$;

\if :has_proof
DO $$
DECLARE
    attempt record;
BEGIN
    FOR attempt IN SELECT statement FROM proof.write ORDER BY id LOOP
        BEGIN
            EXECUTE attempt.statement;
        EXCEPTION WHEN others THEN
            RAISE 'refused: %: %', attempt.statement, SQLERRM;
        END;
    END LOOP;
END
$$;
\endif

-- New objects of every kind that takes a number, and a large object.
DO $$
DECLARE
    large oid;
BEGIN
    CREATE SCHEMA made_by_prove;
    CREATE TABLE made_by_prove.t (id serial PRIMARY KEY, word text);
    INSERT INTO made_by_prove.t (word) SELECT repeat(md5(n::text), 500) FROM generate_series(1, 20) n;
    CREATE TYPE made_by_prove.e AS ENUM ('a', 'b');
    ALTER TABLE made_by_prove.t ADD e made_by_prove.e DEFAULT 'b';
    CREATE FUNCTION made_by_prove.f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM made_by_prove.t WHERE e = ''b''';
    IF made_by_prove.f() <> 20 THEN
        RAISE 'a new table does not hold what was written';
    END IF;
    DROP SCHEMA made_by_prove CASCADE;
    large := lo_from_bytea(0, 'made by prove');
    IF lo_get(large) <> 'made by prove' THEN
        RAISE 'a new large object does not hold what was written';
    END IF;
    PERFORM lo_put(oid, 0, '\x00') FROM pg_largeobject_metadata;
    PERFORM lo_unlink(large);
END
$$;

DO $$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'm' ORDER BY oid LOOP
        EXECUTE format('REFRESH MATERIALIZED VIEW %s', v.name);
    END LOOP;
END
$$;
