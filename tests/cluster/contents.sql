-- Prints everything a database holds; run by `contents` in each.

SELECT 'schema', nspname, pg_get_userbyid(nspowner) FROM pg_namespace
WHERE nspname !~ '^pg_' ORDER BY nspname::text COLLATE "C";

SELECT 'extension', extname, extversion, extnamespace::regnamespace, pg_get_userbyid(extowner) FROM pg_extension
ORDER BY extname::text COLLATE "C";

-- Relations: what they are and where they are. Invalid indexes are not carried by any upgrade.
SELECT 'relation', c.relkind, format('%I.%I', n.nspname, c.relname), pg_get_userbyid(c.relowner), c.relpersistence,
    coalesce(t.spcname, '-'), array_to_string(array(SELECT unnest(c.reloptions) ORDER BY 1), ','),
    c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, coalesce(i.indisclustered, false)
FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
    LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (c.relkind <> 'i' OR i.indisvalid)
ORDER BY c.relkind, n.nspname::text COLLATE "C", c.relname::text COLLATE "C";

-- Rows: their number and a checksum that does not depend on their order, over the text of each column
-- in attnum order; the bits of a float, because the text of floats changed in 12.
SELECT format('SELECT ''rows'', %L, count(*), coalesce(sum((''x'' || substr(md5(%s), 1, 16))::bit(64)::bigint), 0) FROM ONLY %I.%I',
    format('%I.%I', n.nspname, c.relname), coalesce(string_agg(column_text.expression, ' || '',''|| ' ORDER BY a.attnum), ''''''),
    n.nspname, c.relname)
FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN LATERAL (
        SELECT CASE a.atttypid
            WHEN 'float8'::regtype THEN 'coalesce(encode(float8send(' || quote_ident(a.attname) || '), ''hex''), ''NULL'')'
            WHEN 'float4'::regtype THEN 'coalesce(encode(float4send(' || quote_ident(a.attname) || '), ''hex''), ''NULL'')'
            ELSE 'format(''%L'', ' || quote_ident(a.attname) || ')'
        END AS expression) column_text ON true
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'm') AND c.relispopulated
GROUP BY n.nspname, c.relname
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C" \gexec

SELECT format('SELECT ''sequence'', %L, %L::text, %L::bigint, %L::bigint, %L::bigint, %L::bigint, %L::bigint, %L::boolean, last_value, is_called FROM %I.%I',
    format('%I.%I', n.nspname, c.relname), s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
    s.seqcache, s.seqcycle, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C" \gexec

SELECT 'large object', m.oid, pg_get_userbyid(m.lomowner),
    array_to_string(array(SELECT a::text FROM unnest(coalesce(m.lomacl, acldefault('L', m.lomowner))) a ORDER BY 1), ' '),
    md5(lo_get(m.oid)), length(lo_get(m.oid)), coalesce(obj_description(m.oid, 'pg_largeobject'), '')
FROM pg_largeobject_metadata m
ORDER BY m.oid;
