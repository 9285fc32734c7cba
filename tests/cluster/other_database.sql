-- What every database with nothing but an odd name or setting holds.
SET client_min_messages = error;
CREATE SCHEMA odd;
CREATE TABLE odd.items (id serial PRIMARY KEY, word text DEFAULT 'it''s \ here', bytes bytea DEFAULT '\x00ff5c', day date
    DEFAULT '2020-12-31', took interval DEFAULT '1 day 02:03:04', real float8 DEFAULT 0.1);
INSERT INTO odd.items (word) SELECT repeat(md5(n::text), 100 * n) FROM generate_series(1, 30) n;
INSERT INTO odd.items (word, bytes, day, real) VALUES ('größe', '\xdeadbeef', '1999-02-03', 1e-300);
CREATE INDEX ON odd.items (lower(word));
CREATE TABLE odd.in_space (id integer PRIMARY KEY, word text) TABLESPACE "ts's space";
INSERT INTO odd.in_space SELECT n, md5(n::text) FROM generate_series(1, 20) n;
CREATE TABLE odd.in_default (id integer) TABLESPACE pg_default;
INSERT INTO odd.in_default VALUES (1), (2);
CREATE VIEW odd.days AS SELECT id, day + took AS later, '2020-02-01'::date AS fixed, '\x5c'::bytea AS bytes FROM odd.items;
CREATE MATERIALIZED VIEW odd.kept AS SELECT id, length(word) AS n FROM odd.items;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert');
ALTER TABLE odd.items OWNER TO writer;
GRANT SELECT (id) ON odd.items TO reader;
SELECT lo_from_bytea(500, convert_to('größe', 'UTF8'));
COMMENT ON SCHEMA odd IS 'größe';
