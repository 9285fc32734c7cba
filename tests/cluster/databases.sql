CREATE DATABASE rich OWNER app_owner;
CREATE DATABASE contrib;
CREATE DATABASE "it's ""quoted"" here" OWNER "o'Brien ""the"" \quote" CONNECTION LIMIT 17;
CREATE DATABASE "größe 数据 😀";
CREATE DATABASE "-dash";
CREATE DATABASE "a=b host=nowhere";
CREATE DATABASE "back\slash$(x)`y`%n";
\if :v15
CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C';
\else
CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\endif
CREATE DATABASE in_tablespace TABLESPACE ts_database;
\if :v17
CREATE DATABASE built_in TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8';
\endif

-- Settings that change what programs print or may do in a session that does not override them.
ALTER DATABASE "a=b host=nowhere" SET default_transaction_read_only = on;
ALTER DATABASE "-dash" SET DateStyle = 'German, DMY';
ALTER DATABASE "-dash" SET bytea_output = 'escape';
ALTER DATABASE "-dash" SET IntervalStyle = 'sql_standard';
ALTER DATABASE "-dash" SET TimeZone = 'Asia/Kathmandu';
ALTER DATABASE "-dash" SET extra_float_digits = -5;
ALTER DATABASE "-dash" SET search_path = nowhere;
ALTER DATABASE "-dash" SET standard_conforming_strings = off;
ALTER DATABASE "-dash" SET escape_string_warning = off;
ALTER DATABASE "-dash" SET quote_all_identifiers = on;
ALTER DATABASE in_tablespace SET default_tablespace = 'ts_a';
ALTER DATABASE "it's ""quoted"" here" SET app.words = 'it''s "quoted" = \ and größer';
ALTER ROLE reader IN DATABASE "größe 数据 😀" SET search_path = 'größe', "odd Schëma", public;
ALTER ROLE writer IN DATABASE rich SET app.words = 'both';
ALTER ROLE "-dash role" IN DATABASE "-dash" SET enable_seqscan = off;

REVOKE ALL ON DATABASE "it's ""quoted"" here" FROM PUBLIC;
GRANT CONNECT ON DATABASE "it's ""quoted"" here" TO reader WITH GRANT OPTION;
SET ROLE reader;
GRANT CONNECT ON DATABASE "it's ""quoted"" here" TO writer;
RESET ROLE;
GRANT CREATE ON DATABASE rich TO writer;
GRANT TEMPORARY ON DATABASE template1 TO staff;
COMMENT ON DATABASE "back\slash$(x)`y`%n" IS 'it''s $(commented) \ `here`';
COMMENT ON DATABASE template1 IS 'changed template';
