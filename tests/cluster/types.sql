CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE SCHEMA "odd Schëma" AUTHORIZATION "o'Brien ""the"" \quote";
SET search_path = app;
SET ROLE app_owner;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
ALTER TYPE mood ADD VALUE 'ecstatic' AFTER 'happy';
ALTER TYPE mood ADD VALUE 'miserable' BEFORE 'sad';
ALTER TYPE mood ADD VALUE 'so-so' AFTER 'sad';
ALTER TYPE mood ADD VALUE 'it''s "odd" größe';
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
CREATE TYPE no_values AS ENUM ();

CREATE TYPE address AS (street text, dropped integer, zip varchar(10), since date);
ALTER TYPE address DROP ATTRIBUTE dropped;
ALTER TYPE address ADD ATTRIBUTE mood mood;
CREATE TYPE company AS (name text COLLATE "C", seats address[]);

CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN small_positive AS positive DEFAULT 7 NOT NULL CONSTRAINT below_thousand CHECK (VALUE < 1000);
CREATE DOMAIN email AS text COLLATE "C" CHECK (VALUE ~ '@');
ALTER DOMAIN email ADD CONSTRAINT no_space CHECK (VALUE !~ ' ') NOT VALID;
CREATE DOMAIN tags AS text[] CHECK (array_length(VALUE, 1) < 10);
\if :v11
CREATE DOMAIN resident AS address CHECK ((VALUE).zip IS NOT NULL);
\endif

CREATE FUNCTION time_difference(time, time) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT extract(epoch FROM ($1 - $2))::float8';
CREATE TYPE time_range AS RANGE (subtype = time, subtype_diff = time_difference);
\if :v14
CREATE TYPE float_range AS RANGE
    (subtype = float8, subtype_diff = float8mi, multirange_type_name = many_floats);
\else
CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
\endif
RESET ROLE;
CREATE TYPE "odd Schëma".text_range AS RANGE (subtype = text, collation = "C");

CREATE TYPE shell_only;

-- A base type with operators and operator classes of its own, as extensions make them.
CREATE TYPE label;
CREATE FUNCTION label_in(cstring) RETURNS label LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteain';
CREATE FUNCTION label_out(label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'byteaout';
CREATE TYPE label (INPUT = label_in, OUTPUT = label_out, LIKE = bytea, CATEGORY = 'U', DELIMITER = ';');
CREATE FUNCTION label_lt(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'bytealt';
CREATE FUNCTION label_le(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'byteale';
CREATE FUNCTION label_eq(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF AS 'byteaeq';
CREATE FUNCTION label_ne(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'byteane';
CREATE FUNCTION label_ge(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'byteage';
CREATE FUNCTION label_gt(label, label) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'byteagt';
CREATE FUNCTION label_cmp(label, label) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'byteacmp';
CREATE FUNCTION label_hash(label) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'hashvarlena';
CREATE OPERATOR < (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_lt, COMMUTATOR = >,
    NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_le, COMMUTATOR = >=,
    NEGATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR = (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_eq, COMMUTATOR = =,
    NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR <> (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_ne, COMMUTATOR = <>,
    NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR >= (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_ge, COMMUTATOR = <=,
    NEGATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = label, RIGHTARG = label, PROCEDURE = label_gt, COMMUTATOR = <,
    NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR FAMILY label_family USING btree;
CREATE OPERATOR CLASS label_ops DEFAULT FOR TYPE label USING btree FAMILY label_family AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 label_cmp(label, label);
CREATE OPERATOR CLASS label_hash_ops DEFAULT FOR TYPE label USING hash AS
    OPERATOR 1 =, FUNCTION 1 label_hash(label);
\if :v11
CREATE FUNCTION label_hash_extended(label, bigint) RETURNS bigint LANGUAGE internal IMMUTABLE STRICT
    AS 'hashvarlenaextended';
ALTER OPERATOR FAMILY label_hash_ops USING hash ADD FUNCTION 2 label_hash_extended(label, bigint);
\endif
CREATE FUNCTION label_lt_bytea(label, bytea) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'bytealt';
CREATE OPERATOR < (LEFTARG = label, RIGHTARG = bytea, PROCEDURE = label_lt_bytea);
ALTER OPERATOR FAMILY label_family USING btree ADD OPERATOR 1 < (label, bytea);

CREATE FUNCTION reverse_compare(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT CASE WHEN $1 > $2 THEN -1 WHEN $1 < $2 THEN 1 ELSE 0 END';
CREATE OPERATOR CLASS reverse_ops FOR TYPE integer USING btree AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <,
    FUNCTION 1 reverse_compare(integer, integer);

CREATE CAST (label AS bytea) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (text AS label) WITH INOUT AS IMPLICIT;
CREATE FUNCTION mood_rank(mood) RETURNS integer LANGUAGE sql STABLE STRICT
    AS $$ SELECT rank::integer FROM unnest(enum_range(NULL::app.mood)) WITH ORDINALITY AS t (value, rank)
          WHERE value = $1 $$;
CREATE CAST (mood AS integer) WITH FUNCTION mood_rank(mood);

CREATE COLLATION c_utf8 (LOCALE = 'C.UTF-8');
CREATE COLLATION "odd Schëma".mixed (LC_COLLATE = 'C', LC_CTYPE = 'C.UTF-8');
\if :icu
SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i') AS has_icu \gset
\if :has_icu
CREATE COLLATION numbers (PROVIDER = icu, LOCALE = 'de-u-kn-true');
\if :v12
CREATE COLLATION any_case (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
\endif
\else
\warn 'SKIPPED icu: not in this installation'
\endif
\endif

CREATE TABLE every_type (
    id integer PRIMARY KEY,
    a_smallint smallint, a_bigint bigint, a_numeric numeric, a_scaled numeric(20, 4), a_real real,
    a_double double precision, a_money money, a_boolean boolean, a_char character(7),
    a_varchar varchar(30), a_text text, a_single "char", a_name name, a_bytea bytea,
    a_date date, a_time time(3), a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz,
    an_interval interval, a_day_interval interval day to second(2),
    a_uuid uuid, an_inet inet, a_cidr cidr, a_macaddr macaddr, a_macaddr8 macaddr8,
    a_bit bit(9), a_varbit varbit, a_json json, a_jsonb jsonb,
    a_point point, a_line line, a_lseg lseg, a_box box, a_path path, a_polygon polygon, a_circle circle,
    a_tsvector tsvector, a_tsquery tsquery, an_lsn pg_lsn, a_snapshot txid_snapshot,
    an_oid oid, an_xid xid, a_tid tid, a_class regclass, a_type regtype, a_role regrole,
    an_int_range int4range, a_time_span tstzrange, a_numeric_range numrange,
    a_mood mood, an_address address, a_company company, a_positive small_positive, an_email email,
    a_tag_list tags, a_time_range time_range, a_float_range float_range, a_text_range "odd Schëma".text_range,
    a_label label, a_collated text COLLATE c_utf8, a_mixed text COLLATE "odd Schëma".mixed,
    some_integers integer[], some_texts text[][], some_moods mood[], some_addresses address[],
    some_ranges int4range[], some_time_ranges time_range[], some_labels label[], some_doubles float8[],
    some_jsonb jsonb[], some_spans tstzrange[]
);
INSERT INTO every_type (id, a_positive) VALUES (1, 1);
INSERT INTO every_type VALUES (2,
    -32768, 9223372036854775807, 'NaN', 12345678901234.5678, '-Infinity', 'NaN', 12.34, true, 'abc',
    'größe', E'tab\there', 'x', 'a name', '\x00ff10',
    '4713-01-01 BC', '23:59:59.999', '12:00:00+05:45', 'infinity', '-infinity',
    '1 year 2 mons -3 days 04:05:06.7', '5 days 03:02:01.25',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
    B'101010101', B'1', '{"b": 1,  "a": [2]}', '{"b": 1, "a": [2, null, "größe"]}',
    '(1.5,2.25)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(2,3))', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))',
    '<(1,2),3>', 'a:1A fat:2B,4C', 'fat & (rat | ''odd word'')', '16/B374D848', '10:20:10,14,15',
    4294967295, '3', '(5,7)', 'app.every_type', 'app.mood[]', 'reader',
    '[1,10)', '[2020-01-01 00:00+00, infinity)', '(,5.5]',
    'it''s "odd" größe', ROW('Main "street", \ 5', '12345', '2020-02-29', 'so-so'),
    ROW('it''s', ARRAY[ROW('a', 'b', NULL, 'sad')::address, NULL]), 999, 'a@b', '{a,"b c",NULL}',
    '[08:00,17:30)', '(1e-300,1e300)', '["a,b","ä"]', 'label 1', 'Ä', 'ß',
    '[0:2]={1,NULL,3}', '{{a,"b,c"},{"d\"e",NULL}}', '{sad,happy,fine}',
    ARRAY[ROW('x', 'y', '2000-01-01', 'happy')::address], '{"[1,3)",empty}', '{"[01:00,02:00)"}',
    '{label 2;label 3}', '{NaN,-0,1e-307,Infinity}', ARRAY['{"a": 1}'::jsonb, 'null'],
    '{"[2020-01-01,2021-01-01)"}');
INSERT INTO every_type (id, a_double, a_real, a_text, a_mood, a_label, a_positive)
    SELECT n, 1.0 / n, 1.0 / n, md5(n::text), (enum_range(NULL::mood))[1 + n % 7], 'label ' || n, 1 + n % 998
    FROM generate_series(3, 300) n;
CREATE INDEX ON every_type (a_mood, a_double);
CREATE INDEX ON every_type (a_label);
CREATE INDEX ON every_type USING hash (a_label);
CREATE INDEX ON every_type (a_positive reverse_ops);
CREATE INDEX ON every_type (a_collated, a_text COLLATE "C.utf8" DESC NULLS LAST);

CREATE TABLE newer_types (id integer);
INSERT INTO newer_types VALUES (1), (2);
\if :v11
ALTER TABLE newer_types ADD some_emails email[] DEFAULT '{a@b,c@d}', ADD a_resident resident DEFAULT ROW('a', 'b', NULL, 'sad');
\endif
\if :v12
ALTER TABLE newer_types ADD a_path jsonpath DEFAULT '$.a[*] ? (@ > 1)';
\endif
\if :v13
ALTER TABLE newer_types ADD a_full_xid xid8 DEFAULT '12345678901', ADD a_snapshot pg_snapshot DEFAULT '10:20:10,14',
    ADD a_collation regcollation;
ALTER TABLE newer_types DROP a_collation;
\endif
\if :v14
ALTER TABLE newer_types ADD numbers int4multirange DEFAULT '{[1,3),[5,7)}', ADD floats many_floats DEFAULT '{[1.5,2.5]}',
    ADD some_floats many_floats[] DEFAULT '{"{[1,2]}"}', ADD an_infinity numeric DEFAULT '-Infinity';
\endif
INSERT INTO newer_types VALUES (3);

SELECT proof.ask('SELECT id, a_mood::integer, a_label::bytea, a_company FROM every_type WHERE id < 20');
SELECT proof.ask('SELECT a_mood FROM every_type ORDER BY a_mood DESC, id LIMIT 5');
SELECT proof.scan('SELECT id FROM every_type WHERE a_mood > ''fine'' AND a_double < 0.1');
SELECT proof.scan('SELECT id FROM every_type WHERE a_label = ''label 77''');
SELECT proof.scan('SELECT id FROM every_type WHERE a_label BETWEEN ''label 100'' AND ''label 150''');
SELECT proof.scan('SELECT id FROM every_type WHERE a_positive::integer OPERATOR(pg_catalog.<) 20');
SELECT proof.refuse('UPDATE app.every_type SET a_positive = 1000 WHERE id = 5', '23514');
SELECT proof.refuse('UPDATE app.every_type SET an_email = ''a @b'' WHERE id = 5', '23514');
SELECT proof.refuse('UPDATE app.every_type SET a_mood = ''ok'' WHERE id = 5', '22P02');
SELECT proof.try('INSERT INTO app.every_type (id, a_mood, a_positive) VALUES (1001, ''ecstatic'', DEFAULT)');
SELECT proof.try('ALTER TYPE app.mood ADD VALUE ''new'' AFTER ''fine''');
