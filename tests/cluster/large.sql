-- More than 1 GB in two segments. Rows just below the toast threshold, made by CREATE TABLE AS, which
-- writes no WAL where wal_level is minimal.
CREATE TABLE public.two_segments AS
    SELECT n AS id, n % 97 AS remainder, repeat(chr(97 + (n % 26)::integer), 1960) AS filler
    FROM generate_series(1, 530000) n;
ALTER TABLE public.two_segments ADD PRIMARY KEY (id);
CREATE INDEX ON public.two_segments (remainder) WHERE remainder < 5;
DELETE FROM public.two_segments WHERE id % 50000 = 0;
