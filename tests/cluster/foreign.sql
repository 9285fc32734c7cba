SET search_path = app;

CREATE FOREIGN DATA WRAPPER no_handler OPTIONS (debug 'true', "odd 'option'" 'it''s "odd"');
CREATE SERVER "it's a server" TYPE 'odd' VERSION '1.5' FOREIGN DATA WRAPPER no_handler OPTIONS (host 'größe');
CREATE USER MAPPING FOR reader SERVER "it's a server" OPTIONS (user 'r', password 'it''s "secret"');
CREATE USER MAPPING FOR PUBLIC SERVER "it's a server";
GRANT USAGE ON FOREIGN DATA WRAPPER no_handler TO app_owner WITH GRANT OPTION;
GRANT USAGE ON FOREIGN SERVER "it's a server" TO writer;
ALTER SERVER "it's a server" OWNER TO app_owner;
CREATE FOREIGN TABLE unreachable (id integer OPTIONS (column_name 'ID''s') NOT NULL, gone text,
    word text COLLATE "C" DEFAULT 'x', CHECK (id > 0)) SERVER "it's a server" OPTIONS (table 'far "away"');
ALTER FOREIGN TABLE unreachable DROP gone, ADD later mood;
CREATE FOREIGN TABLE foreign_descendant () INHERITS (other_ancestor) SERVER "it's a server";
ALTER FOREIGN TABLE foreign_descendant NO INHERIT other_ancestor;
CREATE TABLE with_foreign_partition (id integer, kind text) PARTITION BY LIST (kind);
CREATE FOREIGN TABLE foreign_partition PARTITION OF with_foreign_partition FOR VALUES IN ('far') SERVER "it's a server";
CREATE TABLE near_partition PARTITION OF with_foreign_partition FOR VALUES IN ('near');
INSERT INTO near_partition VALUES (1, 'near');
CREATE TABLE with_foreign_descendant (b text, n integer);
CREATE FOREIGN TABLE inheriting () INHERITS (with_foreign_descendant) SERVER "it's a server";
