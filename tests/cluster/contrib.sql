-- Extensions that exist in every installation the tests know.
SET search_path = public;
CREATE SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION btree_gin;
CREATE EXTENSION ltree;
CREATE EXTENSION intarray;
CREATE EXTENSION cube;
CREATE EXTENSION earthdistance;
CREATE EXTENSION seg;
CREATE EXTENSION isn;
CREATE EXTENSION lo;
CREATE EXTENSION unaccent;
CREATE EXTENSION tablefunc;
CREATE EXTENSION fuzzystrmatch;
CREATE EXTENSION dict_int;
CREATE EXTENSION bloom;
CREATE EXTENSION pageinspect;
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION tsm_system_rows;
CREATE EXTENSION moddatetime;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
COMMENT ON EXTENSION hstore IS 'it''s a changed comment';
-- Members that came to an extension, and left one, by hand.
CREATE FUNCTION public.joined() RETURNS integer LANGUAGE sql AS 'SELECT 1';
ALTER EXTENSION seg ADD FUNCTION public.joined();
GRANT EXECUTE ON FUNCTION public.levenshtein(text, text) TO reader;
REVOKE EXECUTE ON FUNCTION public.unaccent(text) FROM PUBLIC;

CREATE SCHEMA app;
SET search_path = app, ext, public;
CREATE TABLE contributed (id integer PRIMARY KEY, pairs hstore, name citext UNIQUE, path ltree, cube cube, seg seg,
    book isbn13, raster lo, words text, list integer[], some_pairs hstore[], changed timestamp,
    EXCLUDE USING gist (id WITH =, words WITH =));
INSERT INTO contributed SELECT n, hstore('key' || n % 10, n::text), 'Name ' || n, ('Top.Branch' || n % 5 || '.Leaf' || n)::ltree,
        cube(ARRAY[n % 7, n % 11]), (n || ' .. ' || n + 2)::seg, NULL, NULL, md5(n::text), ARRAY[n % 10, n % 3],
        ARRAY[hstore('a', n::text)], NULL
    FROM generate_series(1, 500) n;
UPDATE contributed SET book = '978-0-393-04002-9' WHERE id = 1;
UPDATE contributed SET raster = lo_from_bytea(0, 'managed by lo') WHERE id = 2;
CREATE TRIGGER manage BEFORE UPDATE OR DELETE ON contributed FOR EACH ROW EXECUTE PROCEDURE lo_manage(raster);
CREATE TRIGGER changed BEFORE UPDATE ON contributed FOR EACH ROW EXECUTE PROCEDURE moddatetime(changed);
CREATE INDEX ON contributed USING gin (pairs);
CREATE INDEX ON contributed USING gist (pairs);
CREATE INDEX ON contributed USING gin (words gin_trgm_ops);
CREATE INDEX ON contributed USING gist (words gist_trgm_ops);
CREATE INDEX ON contributed USING gist (path);
CREATE INDEX ON contributed USING gist (cube);
CREATE INDEX ON contributed USING gist (seg);
CREATE INDEX ON contributed USING gin (list gin__int_ops);
CREATE INDEX ON contributed USING gin (id, words);
CREATE INDEX ON contributed USING bloom (id, words) WITH (length = 80, col1 = 3);
\if :v11
CREATE INDEX ON contributed (name citext_pattern_ops);
\endif
CREATE TEXT SEARCH DICTIONARY four_digits (TEMPLATE = intdict_template, MAXLEN = 4);
CREATE VIEW uses_extensions AS SELECT id, pairs -> 'key1' AS v, name = 'name 5'::citext AS found, path <@ 'Top.Branch1' AS below,
    similarity(words, 'abc') AS s FROM contributed WHERE words % 'c4ca4238a0b923820dcc509a6f75849b' OR pairs ? 'key1';

CREATE SERVER loop_back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere', dbname 'it''s', fetch_size '77');
CREATE USER MAPPING FOR reader SERVER loop_back OPTIONS (user 'reader', password 'secret');
CREATE FOREIGN TABLE remote (id integer OPTIONS (column_name 'ID'), name ext.citext) SERVER loop_back
    OPTIONS (schema_name 's', table_name 't');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE null_device (line text) SERVER files OPTIONS (filename '/dev/null', format 'csv', header 'false');

SELECT proof.ask('SELECT count(*) FROM app.null_device');
SELECT proof.ask('SELECT * FROM app.uses_extensions');
SELECT proof.ask('SELECT public.levenshtein(''kitten'', ''sitting''), public.unaccent(''größé'')');
SELECT proof.scan('SELECT id FROM app.contributed WHERE pairs OPERATOR(ext.@>) ''key5=>55''::ext.hstore');
SELECT proof.scan('SELECT id FROM app.contributed WHERE words LIKE ''%abc%''');
SELECT proof.scan('SELECT id FROM app.contributed WHERE path OPERATOR(public.<@) ''Top.Branch3''::public.ltree');
SELECT proof.scan('SELECT id FROM app.contributed WHERE cube OPERATOR(public.<@) public.cube(''(1,1),(3,3)'')');
SELECT proof.scan('SELECT id FROM app.contributed WHERE name OPERATOR(ext.=) ''nAME 77''::ext.citext');
SELECT proof.try('UPDATE app.contributed SET pairs = ''new=>1'', raster = NULL, name = ''other'' WHERE id = 2');
SELECT proof.refuse('INSERT INTO app.contributed (id, name) VALUES (1000, ''NAME 5'')', '23505');
