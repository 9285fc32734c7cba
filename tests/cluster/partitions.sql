SET search_path = app;

CREATE TABLE by_range (id integer NOT NULL, at date NOT NULL, word text) PARTITION BY RANGE (at);
CREATE TABLE by_range_2019 PARTITION OF by_range FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE by_range_2020 PARTITION OF by_range FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
    PARTITION BY LIST (word);
CREATE TABLE by_range_2020_a PARTITION OF by_range_2020 FOR VALUES IN ('a', 'it''s "a"') TABLESPACE ts_a;
CREATE TABLE by_range_2020_rest PARTITION OF by_range_2020 (id DEFAULT 5) FOR VALUES IN ('b', 'c', NULL);
-- Attached with columns in another order and a dropped one.
CREATE TABLE attached (word text, gone integer, at date NOT NULL, id integer NOT NULL DEFAULT 3);
ALTER TABLE attached DROP gone;
ALTER TABLE by_range ATTACH PARTITION attached FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE detached PARTITION OF by_range FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
INSERT INTO by_range SELECT n, '2019-06-01'::date + n, (ARRAY['a', 'b', 'c'])[1 + n % 3] FROM generate_series(1, 900) n;
INSERT INTO by_range VALUES (5000, '2030-05-05', 'detached');
ALTER TABLE by_range DETACH PARTITION detached;

CREATE TABLE by_list (kind mood, n numeric) PARTITION BY LIST (kind);
CREATE TABLE by_list_low PARTITION OF by_list FOR VALUES IN ('miserable', 'sad');
CREATE TABLE by_list_high PARTITION OF by_list FOR VALUES IN ('happy', 'it''s "odd" größe');
INSERT INTO by_list VALUES ('sad', 1), ('happy', 2), ('it''s "odd" größe', 3);
CREATE TABLE by_expression (a text, b integer) PARTITION BY RANGE (lower(a) COLLATE "C", ((b + 1)));
CREATE TABLE by_expression_1 PARTITION OF by_expression FOR VALUES FROM ('a', MINVALUE) TO ('m', 10);
CREATE TABLE by_expression_2 PARTITION OF by_expression FOR VALUES FROM ('m', 10) TO (MAXVALUE, MAXVALUE);
INSERT INTO by_expression VALUES ('B', 1), ('X', 2);
CREATE TABLE no_partitions (a integer, b text) PARTITION BY RANGE (a);

\if :v11
CREATE TABLE by_range_default PARTITION OF by_range DEFAULT;
INSERT INTO by_range VALUES (6000, '2040-01-01', 'default');
CREATE INDEX by_range_id ON by_range (id);
ALTER TABLE by_range ADD CONSTRAINT by_range_key UNIQUE (id, at, word);
CREATE INDEX by_range_only ON ONLY by_range (word);
CREATE INDEX attached_word ON attached (word);
ALTER INDEX by_range_only ATTACH PARTITION attached_word;
CREATE TABLE by_hash (id integer PRIMARY KEY, word text) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_hash_2 PARTITION OF by_hash FOR VALUES WITH (MODULUS 3, REMAINDER 2) PARTITION BY RANGE (id);
CREATE TABLE by_hash_2_all PARTITION OF by_hash_2 DEFAULT;
INSERT INTO by_hash SELECT n, md5(n::text) FROM generate_series(1, 300) n;
CREATE TABLE by_label_hash (name label, n integer) PARTITION BY HASH (name);
CREATE TABLE by_label_hash_0 PARTITION OF by_label_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_label_hash_1 PARTITION OF by_label_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_label_hash SELECT 'label ' || n, n FROM generate_series(1, 50) n;
CREATE TRIGGER record AFTER INSERT ON by_hash FOR EACH ROW EXECUTE PROCEDURE record_change('partitioned');
ALTER TABLE by_hash_1 DISABLE TRIGGER record;
ALTER TABLE by_hash ADD fast text DEFAULT 'fast default';
CREATE TABLE to_plain (id integer, plain integer REFERENCES "select") PARTITION BY LIST (id);
CREATE TABLE to_plain_1 PARTITION OF to_plain FOR VALUES IN (1);
INSERT INTO to_plain VALUES (1, 5);
SELECT proof.scan('SELECT id, md5(word) FROM by_hash WHERE id = 77');
SELECT proof.scan('SELECT id, at FROM by_range WHERE id = 300');
SELECT proof.try('INSERT INTO app.by_hash VALUES (1000, ''new'')');
SELECT proof.try('UPDATE app.by_hash SET id = 1001 WHERE id = 1000');
SELECT proof.try('CREATE TABLE app.by_range_new PARTITION OF app.by_range FOR VALUES FROM (''2025-01-01'') TO (''2026-01-01'')');
SELECT proof.refuse('INSERT INTO app.to_plain VALUES (1, 999)', '23503');
\else
CREATE INDEX ON by_range_2019 (id);
CREATE INDEX ON attached (id);
SELECT proof.scan('SELECT id, at FROM attached WHERE id = 800');
\endif
\if :v12
CREATE TABLE to_partitioned (hash integer REFERENCES by_hash ON DELETE CASCADE);
INSERT INTO to_partitioned SELECT generate_series(1, 20);
SELECT proof.refuse('INSERT INTO app.to_partitioned VALUES (9999)', '23503');
\endif
SELECT proof.try('INSERT INTO app.by_range VALUES (7000, ''2020-07-07'', ''b'')');
SELECT proof.try('UPDATE app.by_range SET at = ''2021-07-07'' WHERE id = 7000 AND at > ''2021-01-01''');
SELECT proof.refuse('INSERT INTO app.by_list VALUES (''fine'', 1)', '23514');
SELECT proof.ask('SELECT tableoid::regclass, count(*) FROM by_range GROUP BY 1');
SELECT proof.ask('SELECT tableoid::regclass, * FROM by_expression');
