-- A changed template1, which later databases are made from.
CREATE TABLE public.in_every_database (id serial PRIMARY KEY, word text);
INSERT INTO public.in_every_database (word) VALUES ('from template1'), (repeat('toast ', 5000));
CREATE FUNCTION public.in_every_database() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'template1'::text $$;
CREATE SCHEMA templates AUTHORIZATION app_owner;
CREATE TYPE templates.kind AS ENUM ('a', 'b');
ALTER DEFAULT PRIVILEGES IN SCHEMA templates GRANT SELECT ON TABLES TO reader;
COMMENT ON FUNCTION public.in_every_database() IS 'came with template1';
SELECT lo_from_bytea(77, 'a large object of template1');
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;
GRANT CREATE ON SCHEMA public TO writer;
