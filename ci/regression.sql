-- Mends in the regression database what checks leave to people. Variables of psql: without_icu,
-- without_lz4 and without_xml, true where the new version was built so.

-- The library of the tests is where dynamic_library_path says, another one for each version.
UPDATE pg_proc SET probin = regexp_replace(probin, '^.*/|\.so$', '', 'g') WHERE probin LIKE '/%';

\if :without_icu
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT oid::regcollation AS name FROM pg_collation WHERE oid >= 16384 AND collprovider = 'i' LOOP
        EXECUTE format('DROP COLLATION %s CASCADE', c.name);
    END LOOP;
END
$$;
\endif

\if :without_lz4
-- A value keeps its method in columns that do not ask for it, too.
DO $$
DECLARE
    c record;
    found boolean;
BEGIN
    FOR c IN
        SELECT a.attrelid::regclass AS relation, r.relkind, a.attname, a.attcompression
        FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
        WHERE a.attrelid >= 16384 AND r.relkind IN ('r', 'p', 'm') AND a.attlen = -1 AND NOT a.attisdropped
        ORDER BY a.attrelid
    LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = c.relation);
        found := c.attcompression = 'l';
        IF NOT found AND c.relkind <> 'p' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM ONLY %s WHERE pg_column_compression(%I) = ''lz4'')',
                           c.relation, c.attname) INTO found;
        END IF;
        IF found THEN
            EXECUTE format('DROP %s %s CASCADE',
                           CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, c.relation);
        END IF;
    END LOOP;
END
$$;
\endif

\if :without_xml
DO $$
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT c.oid, c.oid::regclass AS name FROM pg_class c
        WHERE c.oid >= 16384 AND c.relkind = 'v' AND pg_get_viewdef(c.oid) ~* '\mxml'
    LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_class WHERE oid = v.oid);
        EXECUTE format('DROP VIEW %s CASCADE', v.name);
    END LOOP;
END
$$;

-- An upgrade carries such values; the plain restoration it is compared with would have to read them.
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT a.attrelid::regclass AS relation, a.attname FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid
        WHERE r.relkind = 'r' AND a.attrelid >= 16384 AND a.atttypid = 'xml'::regtype AND NOT a.attisdropped
    LOOP
        EXECUTE format('UPDATE %s SET %I = NULL', c.relation, c.attname);
    END LOOP;
END
$$;
\endif
