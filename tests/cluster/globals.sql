SET password_encryption = 'scram-sha-256';
CREATE ROLE scram LOGIN PASSWORD 'it''s a "secret" = \ $1';
SET password_encryption = 'md5';
CREATE ROLE md5 LOGIN PASSWORD 'another secret';

CREATE ROLE app_owner CREATEDB;
CREATE ROLE reader LOGIN NOINHERIT;
CREATE ROLE writer LOGIN;
CREATE ROLE "o'Brien ""the"" \quote" LOGIN;
CREATE ROLE "-dash role" LOGIN CREATEROLE;
CREATE ROLE "größe" NOLOGIN;
CREATE ROLE limited LOGIN CONNECTION LIMIT 3 VALID UNTIL '2038-01-19 03:14:07+00';
CREATE ROLE for_ever LOGIN VALID UNTIL 'infinity';
CREATE ROLE second_superuser SUPERUSER LOGIN BYPASSRLS REPLICATION;
CREATE ROLE staff;
CREATE ROLE manager;
CREATE ROLE director;
CREATE ROLE gone;
DROP ROLE gone;

GRANT staff TO manager WITH ADMIN OPTION;
GRANT manager TO director WITH ADMIN OPTION;
GRANT staff, app_owner TO writer;
GRANT pg_monitor, pg_signal_backend TO reader;
GRANT pg_read_all_settings TO staff WITH ADMIN OPTION;
SET ROLE manager;
GRANT staff TO reader, "o'Brien ""the"" \quote";
RESET ROLE;
SET ROLE director;
GRANT manager TO "größe" WITH ADMIN OPTION;
RESET ROLE;
SET ROLE "-dash role";
CREATE ROLE made_by_a_role;
RESET ROLE;
\if :v16
GRANT director TO reader WITH INHERIT TRUE, SET FALSE;
GRANT director TO limited WITH INHERIT FALSE, ADMIN TRUE;
\endif

COMMENT ON ROLE reader IS 'reads; it''s a "quoted" comment \ with a backslash';
COMMENT ON ROLE "größe" IS 'größer';

ALTER ROLE reader SET search_path TO "$user", "odd Schëma", public;
ALTER ROLE reader SET work_mem = '17MB';
ALTER ROLE writer SET app.words = 'it''s "quoted" = \ and größer, with, commas';
-- Long enough for the toast table of a shared catalog.
SELECT format('ALTER ROLE writer SET app.long = %L', string_agg(md5(n::text), '')) FROM generate_series(1, 400) n \gexec
ALTER ROLE writer SET DateStyle = 'SQL, DMY';

\set place :root '/a'
CREATE TABLESPACE ts_a OWNER app_owner LOCATION :'place' WITH (random_page_cost = 1.5);
\set place :root '/b'
CREATE TABLESPACE "ts ""b"" größe" LOCATION :'place';
\set place :root '/with space'
CREATE TABLESPACE "ts's space" LOCATION :'place';
\set place :root '/database'
CREATE TABLESPACE ts_database OWNER "-dash role" LOCATION :'place'
    WITH (seq_page_cost = 1.25, effective_io_concurrency = 4);
GRANT CREATE ON TABLESPACE ts_a TO writer WITH GRANT OPTION;
GRANT CREATE ON TABLESPACE "ts ""b"" größe" TO app_owner, "größe";
COMMENT ON TABLESPACE "ts ""b"" größe" IS 'comment of a tablespace';

\if :v15
GRANT SET, ALTER SYSTEM ON PARAMETER log_min_duration_statement TO reader;
GRANT SET ON PARAMETER app.words TO writer WITH GRANT OPTION;
\endif
