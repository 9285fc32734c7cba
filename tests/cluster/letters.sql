-- What an encoding of one byte a letter holds, beyond ASCII, in names and in rows.
CREATE ROLE "größe" LOGIN PASSWORD 'größer';
COMMENT ON ROLE "größe" IS 'größer';
CREATE DATABASE letters OWNER "größe";

\connect letters
CREATE SCHEMA "Übung" AUTHORIZATION "größe";
SET search_path = "Übung";
CREATE TYPE "Gemüt" AS ENUM ('fröhlich', 'müde');
CREATE TABLE "Wörter" (id integer PRIMARY KEY, "wörtlich" text DEFAULT 'größe', gemüt "Gemüt" DEFAULT 'müde');
INSERT INTO "Wörter" (id, "wörtlich") SELECT n, repeat(chr(n), n) FROM generate_series(1, 255) n;
-- Long enough for the toast table.
INSERT INTO "Wörter" (id, "wörtlich") SELECT 1000, string_agg(chr(n % 255 + 1) || md5(n::text), '') FROM generate_series(1, 2000) n;
CREATE INDEX "großer Index" ON "Wörter" (upper("wörtlich")) WHERE id < 1000;
CREATE VIEW "Ansicht, größer" AS SELECT id, "wörtlich" || 'é' AS "é" FROM "Wörter" WHERE gemüt = 'müde';
CREATE MATERIALIZED VIEW "Länge" AS SELECT id, length("wörtlich") AS "Länge" FROM "Wörter";
CREATE FUNCTION "größer"(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1) || ''größer''';
COMMENT ON TABLE "Wörter" IS 'größer';

-- A name that a client speaking UTF8 cannot read where the server does not convert.
DO $$
BEGIN
    EXECUTE format('CREATE TABLE %I AS SELECT %L::text AS %I', 'gr' || chr(246) || chr(223) || 'e', chr(233), chr(233));
END
$$;

\connect postgres
ALTER DATABASE letters SET app.words = 'größer';
-- A server does not convert the name of the database that a client asks for, so elsewhere nobody can.
SELECT current_setting('server_encoding') = 'SQL_ASCII' AS unconverted \gset
\if :unconverted
CREATE DATABASE "größe" TEMPLATE letters;
COMMENT ON DATABASE "größe" IS 'größer';
\endif
