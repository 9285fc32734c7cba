-- What `prove` asks of the upgraded server. The answers are taken here, from the old one.
CREATE SCHEMA proof;
CREATE TABLE proof.answer (id serial PRIMARY KEY, query text NOT NULL, answer text NOT NULL);
-- Queries that must give the same rows through an index as through a sequential scan.
CREATE TABLE proof.index_scan (id serial PRIMARY KEY, query text NOT NULL);
-- Statements that must succeed, in this order.
CREATE TABLE proof.write (id serial PRIMARY KEY, statement text NOT NULL);
-- Statements that must fail with this SQLSTATE.
CREATE TABLE proof.refusal (id serial PRIMARY KEY, statement text NOT NULL, state text NOT NULL);

-- All rows of a query as one text.
CREATE FUNCTION proof.rows_of(query text) RETURNS text LANGUAGE plpgsql
    SET search_path = app, pg_catalog SET extra_float_digits = 0 SET DateStyle = 'ISO' SET TimeZone = 'UTC'
    SET IntervalStyle = 'postgres' SET bytea_output = 'hex'
AS $$
DECLARE
    found text;
BEGIN
    EXECUTE 'SELECT coalesce(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C"), '''') FROM ('
        || query || ') t' INTO found;
    RETURN found;
END
$$;

CREATE FUNCTION proof.ask(query text) RETURNS void LANGUAGE sql
AS $$ INSERT INTO proof.answer (query, answer) VALUES ($1, proof.rows_of($1)) $$;
CREATE FUNCTION proof.scan(query text) RETURNS void LANGUAGE sql
AS $$ INSERT INTO proof.index_scan (query) VALUES ($1) $$;
CREATE FUNCTION proof.try(statement text) RETURNS void LANGUAGE sql
AS $$ INSERT INTO proof.write (statement) VALUES ($1) $$;
CREATE FUNCTION proof.refuse(statement text, state text) RETURNS void LANGUAGE sql
AS $$ INSERT INTO proof.refusal (statement, state) VALUES ($1, $2) $$;
