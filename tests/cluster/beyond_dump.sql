-- What pg_dump and pg_dumpall do not write down.
ALTER ROLE ALL SET app.everybody = 'yes';
CREATE DATABASE without_public TEMPLATE template0;
\connect without_public
DROP SCHEMA public;
CREATE SCHEMA other;
CREATE TABLE other.here AS SELECT 1 AS id;
CREATE DATABASE without_plpgsql TEMPLATE template0;
\connect without_plpgsql
DROP EXTENSION plpgsql;
