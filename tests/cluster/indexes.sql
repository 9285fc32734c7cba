SET search_path = app;

CREATE TABLE indexed (id integer, word text, amount numeric, list integer[], doc jsonb, spot point, area box,
    span int4range, address inet, search tsvector, at timestamp);
INSERT INTO indexed
    SELECT n, md5(n::text), n % 100, ARRAY[n % 10, n % 7], jsonb_build_object('k', n % 13, 's', md5(n::text)),
        point(n % 50, n % 37), box(point(n % 50, n), point(n % 50 + 2, n + 2)), int4range(n, n + 5),
        ('10.' || n % 256 || '.0.' || n % 200)::inet, to_tsvector('english', 'word' || n % 20 || ' fat cats'),
        '2020-01-01'::timestamp + n * interval '1 hour'
    FROM generate_series(1, 3000) n;
CREATE UNIQUE INDEX indexed_id ON indexed (id) WITH (fillfactor = 60);
CREATE INDEX indexed_expression ON indexed (lower(word), (amount * 2) DESC);
CREATE INDEX indexed_partial ON indexed (amount) WHERE id > 2000 AND word <> 'it''s';
CREATE INDEX indexed_pattern ON indexed (word text_pattern_ops);
CREATE INDEX indexed_collated ON indexed (word COLLATE "C" DESC NULLS FIRST);
CREATE INDEX indexed_hash ON indexed USING hash (word);
CREATE INDEX indexed_brin ON indexed USING brin (at, id) WITH (pages_per_range = 4);
CREATE INDEX indexed_brin_inclusion ON indexed USING brin (span);
CREATE INDEX indexed_gin_array ON indexed USING gin (list) WITH (fastupdate = off);
CREATE INDEX indexed_gin_doc ON indexed USING gin (doc jsonb_path_ops);
CREATE INDEX indexed_gin_search ON indexed USING gin (search);
CREATE INDEX indexed_gist_spot ON indexed USING gist (spot);
CREATE INDEX indexed_gist_span ON indexed USING gist (span, area) WITH (buffering = on);
CREATE INDEX indexed_gist_address ON indexed USING gist (address inet_ops);
CREATE INDEX indexed_spgist_spot ON indexed USING spgist (spot);
CREATE INDEX indexed_spgist_kd ON indexed USING spgist (spot kd_point_ops);
CREATE INDEX indexed_spgist_word ON indexed USING spgist (word);
CREATE INDEX indexed_spgist_span ON indexed USING spgist (span);
CREATE INDEX indexed_reverse ON indexed (id reverse_ops);

CREATE OPERATOR CLASS own_integer_ops DEFAULT FOR TYPE integer USING own_brin AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 brin_minmax_opcinfo(internal), FUNCTION 2 brin_minmax_add_value(internal, internal, internal, internal),
    FUNCTION 3 brin_minmax_consistent(internal, internal, internal), FUNCTION 4 brin_minmax_union(internal, internal, internal);
CREATE INDEX indexed_own ON indexed USING own_brin (id);
\if :v11
CREATE UNIQUE INDEX indexed_include ON indexed (id) INCLUDE (word, amount);
ALTER INDEX indexed_expression ALTER COLUMN 2 SET STATISTICS 250;
CREATE INDEX indexed_prefix ON indexed (word) WHERE word ^@ 'a';
SELECT proof.scan('SELECT id, word, amount FROM indexed WHERE id BETWEEN 100 AND 120');
\endif
\if :v13
CREATE INDEX indexed_no_dedup ON indexed (amount) WITH (deduplicate_items = off);
CREATE INDEX indexed_siglen ON indexed USING gist (search tsvector_ops (siglen = 100));
\endif
\if :v14
CREATE INDEX indexed_brin_multi ON indexed USING brin (amount numeric_minmax_multi_ops (values_per_range = 16));
CREATE INDEX indexed_brin_bloom ON indexed USING brin (word text_bloom_ops (n_distinct_per_range = 500));
CREATE STATISTICS "odd Schëma".on_expression ON (lower(word)), (amount % 10) FROM indexed;
\endif
CREATE STATISTICS both_kinds (ndistinct, dependencies) ON id, amount, list FROM indexed;
CREATE STATISTICS "odd Schëma"."it's ndistinct" (ndistinct) ON amount, word FROM indexed;
\if :v12
CREATE STATISTICS with_mcv (mcv) ON amount, list FROM indexed;
\endif
\if :v13
ALTER STATISTICS both_kinds SET STATISTICS 300;
\endif
ALTER TABLE indexed CLUSTER ON indexed_id;
ALTER TABLE indexed REPLICA IDENTITY FULL;
CREATE TABLE replicated (id integer NOT NULL, word text);
CREATE UNIQUE INDEX replicated_id ON replicated (id);
ALTER TABLE replicated REPLICA IDENTITY USING INDEX replicated_id;
INSERT INTO replicated SELECT n, md5(n::text) FROM generate_series(1, 50) n;
UPDATE indexed SET amount = amount + 1 WHERE id % 11 = 0;
DELETE FROM indexed WHERE id % 13 = 0;
ANALYZE indexed;

SELECT proof.scan('SELECT id FROM indexed WHERE lower(word) < ''2'' AND amount * 2 > 100');
SELECT proof.scan('SELECT id FROM indexed WHERE id > 2000 AND word <> ''it''''s'' AND amount = 50');
SELECT proof.scan('SELECT id FROM indexed WHERE word LIKE ''ab%''');
SELECT proof.scan('SELECT id FROM indexed WHERE word = md5(''77'')');
SELECT proof.scan('SELECT id FROM indexed WHERE at BETWEEN ''2020-02-01'' AND ''2020-02-05''');
SELECT proof.scan('SELECT id FROM indexed WHERE list @> ARRAY[3, 5]');
SELECT proof.scan('SELECT id FROM indexed WHERE doc @> ''{"k": 5}''');
SELECT proof.scan('SELECT id FROM indexed WHERE search @@ ''word7 & cat''');
SELECT proof.scan('SELECT id FROM indexed WHERE spot <@ box ''(3,3),(9,9)''');
SELECT proof.scan('SELECT id FROM indexed WHERE span && int4range(500, 520)');
SELECT proof.scan('SELECT id FROM indexed WHERE area && box ''(0,0),(5,300)''');
SELECT proof.scan('SELECT id FROM indexed WHERE address << ''10.7.0.0/16''');
SELECT proof.try('UPDATE app.indexed SET amount = amount + 1, word = md5(word), spot = point(1, id) WHERE id < 200');
SELECT proof.try('CREATE INDEX ON app.indexed (md5(word))');
SELECT proof.try('CLUSTER app.indexed');
SELECT proof.try('ANALYZE app.indexed');
