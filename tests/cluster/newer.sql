-- What only later versions have and no other file is the place for.
SET search_path = app;

\if :v13
CREATE VIEW with_ties AS SELECT id, amount FROM indexed ORDER BY amount FETCH FIRST 3 ROWS WITH TIES;
SELECT proof.ask('SELECT * FROM with_ties');
\endif
\if :v14
CREATE VIEW searched AS
    WITH RECURSIVE a (id, self) AS (
        SELECT id, self FROM parent WHERE id = 1
        UNION ALL SELECT p.id, p.self FROM parent p JOIN a ON p.self = a.id
    ) SEARCH DEPTH FIRST BY id SET path CYCLE id SET is_cycle USING trace
    SELECT id, path::text AS path, is_cycle FROM a;
CREATE TABLE subscripted (doc jsonb DEFAULT '{"a": [1]}');
INSERT INTO subscripted DEFAULT VALUES;
UPDATE subscripted SET doc['a'][1] = '2';
CREATE VIEW subscripts AS SELECT doc['a'][1] AS second FROM subscripted;
SELECT proof.ask('SELECT * FROM searched');
SELECT proof.ask('SELECT * FROM subscripts');
\endif
\if :v15
CREATE TABLE set_null_in_part (id integer, parent integer, FOREIGN KEY (parent) REFERENCES parent ON DELETE SET NULL (parent));
INSERT INTO set_null_in_part VALUES (1, 90);
CREATE FUNCTION merged() RETURNS void LANGUAGE sql BEGIN ATOMIC
    MERGE INTO set_null_in_part t USING parent p ON t.id = p.id
        WHEN MATCHED AND p.id < 5 THEN UPDATE SET parent = p.id
        WHEN NOT MATCHED THEN DO NOTHING;
END;
SELECT proof.try('SELECT app.merged()');
\endif
\if :v16
CREATE VIEW of_json AS SELECT id, a_json IS JSON OBJECT AS is_object, JSON_OBJECT('id': id ABSENT ON NULL) AS made
    FROM every_type WHERE id < 5;
CREATE TABLE stored_apart (id integer, word text STORAGE EXTERNAL);
INSERT INTO stored_apart SELECT n, repeat(md5(n::text), 200) FROM generate_series(1, 5) n;
CREATE STATISTICS ON id, word FROM stored_apart;
SELECT proof.ask('SELECT * FROM of_json');
\endif
\if :v17
CREATE COLLATION built_in (PROVIDER = builtin, LOCALE = 'C.UTF-8');
CREATE TABLE with_built_in (word text COLLATE built_in PRIMARY KEY);
INSERT INTO with_built_in SELECT chr(n) FROM generate_series(200, 400) n;
CREATE TABLE numbered_partitions (id bigint GENERATED ALWAYS AS IDENTITY, part integer NOT NULL) PARTITION BY LIST (part);
CREATE TABLE numbered_partition_1 PARTITION OF numbered_partitions FOR VALUES IN (1);
INSERT INTO numbered_partitions (part) SELECT 1 FROM generate_series(1, 20);
CREATE VIEW json_rows AS SELECT t.* FROM every_type,
    JSON_TABLE(a_jsonb, '$.a[*]' COLUMNS (n FOR ORDINALITY, v text PATH '$')) t;
GRANT MAINTAIN ON plain TO reader WITH GRANT OPTION;
SELECT proof.ask('SELECT * FROM json_rows');
SELECT proof.scan('SELECT * FROM with_built_in WHERE word > chr(390)');
SELECT proof.try('INSERT INTO app.numbered_partitions (part) VALUES (1)');
\endif
