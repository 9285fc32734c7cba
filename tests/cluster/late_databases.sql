CREATE DATABASE from_template OWNER writer;
CREATE DATABASE "a template" IS_TEMPLATE true;
CREATE TABLE public.in_postgres (id integer PRIMARY KEY, word text) TABLESPACE ts_a;
INSERT INTO public.in_postgres SELECT n, md5(n::text) FROM generate_series(1, 50) n;
