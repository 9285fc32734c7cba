SET search_path = app;

GRANT USAGE ON SCHEMA app TO reader, writer, staff, limited;
GRANT CREATE ON SCHEMA app TO writer WITH GRANT OPTION;
GRANT USAGE ON SCHEMA "odd Schëma" TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO reader;
GRANT SELECT, INSERT, UPDATE ON plain TO manager WITH GRANT OPTION;
GRANT ALL ON child TO "größe", "-dash role", "o'Brien ""the"" \quote";
GRANT SELECT (id, word), UPDATE (word) ON plain TO PUBLIC;
GRANT UPDATE (amount) ON plain TO writer WITH GRANT OPTION;
SET ROLE writer;
GRANT UPDATE (amount) ON app.plain TO reader;
RESET ROLE;
SET ROLE manager;
GRANT SELECT ON app.plain TO limited WITH GRANT OPTION;
RESET ROLE;
SET ROLE limited;
GRANT SELECT ON app.plain TO staff;
RESET ROLE;
ALTER TABLE empty OWNER TO app_owner;
REVOKE ALL ON empty FROM app_owner;
REVOKE EXECUTE ON FUNCTION add_all(integer, integer, integer[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION add_all(integer, integer, integer[]) TO reader;
GRANT USAGE, SELECT ON SEQUENCE seq_small TO reader;
REVOKE USAGE ON TYPE mood FROM PUBLIC;
GRANT USAGE ON TYPE mood TO writer;
GRANT USAGE ON DOMAIN email TO reader WITH GRANT OPTION;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC;
GRANT USAGE ON LANGUAGE sql TO reader WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO staff;
GRANT SELECT ON pg_catalog.pg_statistic TO reader;
GRANT SELECT (rolname, rolsuper) ON pg_catalog.pg_authid TO reader;
REVOKE SELECT ON pg_catalog.pg_tables FROM PUBLIC;
GRANT USAGE ON SCHEMA information_schema TO writer;

ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO staff;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT ALL ON SEQUENCES TO writer WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE "größe" IN SCHEMA "odd Schëma" GRANT USAGE ON TYPES TO "-dash role";
ALTER DEFAULT PRIVILEGES FOR ROLE writer GRANT USAGE ON SCHEMAS TO reader;

CREATE TABLE guarded (id serial PRIMARY KEY, owner name DEFAULT current_user, secret text);
INSERT INTO guarded (owner, secret) SELECT CASE WHEN n % 2 = 0 THEN 'reader' ELSE 'writer' END, md5(n::text)
    FROM generate_series(1, 40) n;
GRANT SELECT, INSERT, UPDATE, DELETE ON guarded TO reader, writer;
GRANT SELECT ON parent TO staff;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON guarded USING (owner = current_user) WITH CHECK (owner = current_user AND secret <> 'it''s');
CREATE POLICY "no 'delete'" ON guarded AS RESTRICTIVE FOR DELETE TO reader, writer USING (id > 100);
CREATE POLICY with_subquery ON guarded FOR SELECT TO staff
    USING (EXISTS (SELECT FROM app.parent p WHERE p.id = guarded.id));
CREATE TABLE guarded_always (id integer PRIMARY KEY);
ALTER TABLE guarded_always OWNER TO app_owner;
ALTER TABLE guarded_always ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
INSERT INTO guarded_always VALUES (1), (2);

CREATE FUNCTION proof.seen_by(role name) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    SELECT count(*) INTO n FROM app.guarded;
    RESET ROLE;
    RETURN n;
END
$$;
SELECT proof.ask($$SELECT proof.seen_by('reader'), proof.seen_by('writer')$$);
SELECT proof.ask($$SELECT has_table_privilege('staff', 'app.plain', 'SELECT'),
    has_column_privilege('reader', 'app.plain', 'amount', 'UPDATE'),
    has_function_privilege('public', 'pg_sleep(float8)', 'EXECUTE'),
    has_type_privilege('reader', 'app.mood', 'USAGE')$$);
