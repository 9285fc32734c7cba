SET search_path = app;
SET check_function_bodies = off;

CREATE FUNCTION add_all(a integer, b integer DEFAULT 2, VARIADIC rest integer[] DEFAULT '{}') RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 7
    AS $$ SELECT $1 + $2 + coalesce((SELECT sum(x) FROM unnest($3) x), 0) $$;
CREATE FUNCTION overloaded(integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'integer'::text $$;
CREATE FUNCTION overloaded(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'text'::text $$;
CREATE FUNCTION overloaded(mood, address[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'mood'::text $$;
CREATE FUNCTION two_results(IN n integer, OUT half numeric, INOUT word text) LANGUAGE plpgsql
    AS $$ BEGIN half := n / 2.0; word := word || n; END $$;
CREATE FUNCTION table_of(n integer) RETURNS TABLE (i integer, square integer) LANGUAGE plpgsql ROWS 50
    AS $$ BEGIN RETURN QUERY SELECT g, g * g FROM generate_series(1, n) g; END $$;
CREATE FUNCTION set_of_addresses() RETURNS SETOF address LANGUAGE sql STABLE
    AS $$ SELECT 'a'::text, 'b'::varchar(10), NULL::date, 'sad'::app.mood $$;
CREATE FUNCTION first_of(anyarray) RETURNS anyelement LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1[1] $$;
CREATE FUNCTION with_settings() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = app, "odd Schëma", pg_temp SET work_mem = '8MB' SET app.words = 'it''s, "quoted"'
    AS $$ BEGIN RETURN current_setting('work_mem') || current_setting('app.words'); END $$;
ALTER FUNCTION with_settings() OWNER TO app_owner;
CREATE FUNCTION "odd Schëma"."Name, with 'quotes' ""and"" \ more"("first arg" text) RETURNS text
    LANGUAGE plpgsql AS $body$ BEGIN RETURN $$it's $$ || "first arg"; END $body$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN NEW.touched := coalesce(NEW.touched, 0) + 1; RETURN NEW; END $$;
CREATE FUNCTION record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN
        INSERT INTO app.change (relation, act, argument) VALUES (TG_TABLE_NAME, TG_OP, TG_ARGV[0]);
        RETURN NULL;
    END $$;
CREATE FUNCTION record_statement() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN
        INSERT INTO app.change (relation, act, argument)
            SELECT TG_TABLE_NAME, TG_OP || ' rows', count(*)::text FROM new_rows;
        RETURN NULL;
    END $$;
\if :v11
CREATE PROCEDURE add_changes(n integer, word text DEFAULT 'procedure') LANGUAGE plpgsql
    AS $$ BEGIN
        FOR i IN 1..n LOOP
            INSERT INTO app.change (relation, act, argument) VALUES (word, 'CALL', i::text);
            IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        END LOOP;
    END $$;
\endif
\if :v14
CREATE FUNCTION sql_body(n integer) RETURNS bigint LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT count(*) FROM every_type WHERE id > n AND a_mood >= 'sad'::mood; END;
CREATE FUNCTION sql_return(label) RETURNS boolean LANGUAGE sql RETURN $1 > 'label 5'::label;
CREATE PROCEDURE with_out(n integer, OUT twice integer) LANGUAGE sql AS $$ SELECT n * 2 $$;
CREATE FUNCTION subscript_probe(anycompatible, anycompatiblearray) RETURNS anycompatible LANGUAGE sql
    AS $$ SELECT coalesce($1, $2[1]) $$;
\endif

CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = '1',
    COMBINEFUNC = numeric_mul, PARALLEL = SAFE);
CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT CASE WHEN length($1) >= length($2) THEN $1 ELSE $2 END $$;
CREATE AGGREGATE longest(text) (SFUNC = longer, STYPE = text, INITCOND = '', SORTOP = >);
CREATE AGGREGATE moving_sum(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0',
    MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = integer, MINITCOND = '0');
CREATE AGGREGATE own_percentile(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition,
    STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);

CREATE FUNCTION same_parity(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ($1 - $2) % 2 = 0 $$;
CREATE FUNCTION other_parity(integer, integer) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ($1 - $2) % 2 <> 0 $$;
CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, PROCEDURE = same_parity,
    COMMUTATOR = ===, NEGATOR = !==, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR !== (LEFTARG = integer, RIGHTARG = integer, PROCEDURE = other_parity,
    COMMUTATOR = !==, NEGATOR = ===);
CREATE FUNCTION negated(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT reverse($1) $$;
CREATE OPERATOR "odd Schëma".@@@ (RIGHTARG = text, PROCEDURE = negated);

CREATE TEXT SEARCH TEMPLATE own_template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH PARSER own_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end,
    LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH DICTIONARY own_simple (TEMPLATE = own_template, ACCEPT = false);
CREATE TEXT SEARCH DICTIONARY own_german (TEMPLATE = pg_catalog.snowball, LANGUAGE = german);
CREATE TEXT SEARCH CONFIGURATION own_search (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION own_search ALTER MAPPING FOR asciiword, word WITH own_german, pg_catalog.simple;
ALTER TEXT SEARCH CONFIGURATION own_search DROP MAPPING FOR email;
CREATE TEXT SEARCH CONFIGURATION "odd Schëma"."own 'parsed'" (PARSER = own_parser);
ALTER TEXT SEARCH CONFIGURATION "odd Schëma"."own 'parsed'" ADD MAPPING FOR asciiword WITH own_simple, own_german;
ALTER TEXT SEARCH CONFIGURATION own_search OWNER TO app_owner;
\if :v14
CREATE CONVERSION own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
\endif
CREATE ACCESS METHOD own_brin TYPE INDEX HANDLER brinhandler;
\if :v12
CREATE ACCESS METHOD own_heap TYPE TABLE HANDLER heap_tableam_handler;
\endif

-- Rows of catalogs that are toasted.
SELECT format('CREATE FUNCTION long_body() RETURNS text LANGUAGE sql AS %L', 'SELECT ''' || string_agg(md5(n::text), ' ') || '''::text')
    FROM generate_series(1, 2000) n \gexec
SELECT format('COMMENT ON FUNCTION long_body() IS %L', string_agg(md5(n::text), ' ')) FROM generate_series(1, 2000) n \gexec
SELECT format('CREATE VIEW long_view AS SELECT %s', string_agg(format('%L::text AS c%s', md5(n::text), n), ', '))
    FROM generate_series(1, 300) n \gexec

CREATE TABLE change (id bigserial PRIMARY KEY, relation text, act text, argument text);
\if :v11
CALL add_changes(6);
\endif

SELECT proof.ask($$SELECT add_all(1), add_all(1, 3, 4, 5), overloaded(1), overloaded('x'::text)$$);
SELECT proof.ask($$SELECT * FROM two_results(5, 'w'), table_of(4), set_of_addresses()$$);
SELECT proof.ask($$SELECT first_of(ARRAY['a', 'b']), with_settings()$$);
SELECT proof.ask($$SELECT product(n), longest(n::text), moving_sum(n::integer) FROM generate_series(1, 12) n$$);
SELECT proof.ask($$SELECT moving_sum(n) OVER (ORDER BY n ROWS 2 PRECEDING) FROM generate_series(1, 9) n$$);
SELECT proof.ask($$SELECT own_percentile(0.3) WITHIN GROUP (ORDER BY n) FROM generate_series(1, 10) n$$);
SELECT proof.ask($$SELECT 1 === 3, 1 !== 3, OPERATOR("odd Schëma".@@@) 'abc'$$);
SELECT proof.ask($$SELECT "odd Schëma"."Name, with 'quotes' ""and"" \ more"('x')$$);
SELECT proof.ask($$SELECT to_tsvector('own_search', 'Die Häuser und gehende Katzen'), to_tsvector('english', 'fat cats')$$);
\if :v14
SELECT proof.ask($$SELECT sql_body(5), sql_return('label 6'), subscript_probe(1, ARRAY[2.5])$$);
\endif
SELECT proof.ask($$SELECT md5(long_body()), md5(long_view::text) FROM long_view$$);
