WITH RECURSIVE
/*held*/,
stored (type, root) AS (
    SELECT h.type, h.part
    FROM held h
    WHERE h.part IN (SELECT r.oid FROM (/*types*/) AS r (oid))
),
-- Where a column is inherited, only the parent's can be changed.
affected AS (
    SELECT c.oid, c.relkind, c.reltype, c.reloftype, a.attnum, a.attname,
           pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
           pg_catalog.string_agg(DISTINCT pg_catalog.format_type(s.root, NULL), ', ') AS stored
    FROM stored s
    JOIN pg_catalog.pg_attribute a ON a.atttypid = s.type
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
    WHERE a.attnum > 0
      AND NOT a.attisdropped
      AND c.oid >= 16384
      AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND CASE c.relkind
              WHEN 'm' THEN true
              WHEN 'r' THEN a.attinhcount = 0
              WHEN 'p' THEN a.attinhcount = 0
                   AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid)
              -- A plain index column is a column of the table, which is found anyway.
              WHEN 'i' THEN i.indkey[a.attnum - 1] = 0
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
              WHEN 'I' THEN i.indkey[a.attnum - 1] = 0
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
              ELSE false
          END
    GROUP BY c.oid, c.relkind, c.reltype, c.reloftype, a.attnum, a.attname, a.atttypid, a.atttypmod
)
SELECT f.oid::pg_catalog.regclass AS relation,
       CASE f.relkind WHEN 'm' THEN 'materialized view'
                      WHEN 'i' THEN 'index'
                      WHEN 'I' THEN 'index'
                      ELSE 'table' END AS kind,
       f.attname AS "column",
       f.type,
       f.stored,
       CASE
           WHEN f.relkind = 'm' THEN
               pg_catalog.format('DROP MATERIALIZED VIEW %s', f.oid::pg_catalog.regclass)
           WHEN f.relkind IN ('i', 'I') THEN
               COALESCE((SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I',
                                                  k.conrelid::pg_catalog.regclass, k.conname)
                         FROM pg_catalog.pg_constraint k
                         WHERE k.conindid = f.oid AND k.contype IN ('p', 'u', 'x')),
                        pg_catalog.format('DROP INDEX %s', f.oid::pg_catalog.regclass))
           -- What hangs on the column would make ALTER COLUMN TYPE fail: a person must decide.
           WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d
                        LEFT JOIN pg_catalog.pg_attrdef e
                               ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                              AND e.oid = d.objid
                        WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                          AND d.refobjid = f.oid
                          AND d.refobjsubid = f.attnum
                          AND (d.classid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass,
                                                 'pg_catalog.pg_attrdef'::pg_catalog.regclass,
                                                 'pg_catalog.pg_constraint'::pg_catalog.regclass,
                                                 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass)
                               OR e.adnum <> f.attnum))
             OR EXISTS (SELECT FROM pg_catalog.pg_constraint k
                        WHERE k.contype IN ('c', 'f', 'x')
                          AND (k.conrelid = f.oid AND f.attnum = ANY (k.conkey)
                               OR k.confrelid = f.oid AND f.attnum = ANY (k.confkey)))
             OR EXISTS (SELECT FROM pg_catalog.pg_partitioned_table q
                        WHERE q.partrelid = f.oid
                          AND (q.partexprs IS NOT NULL OR f.attnum = ANY (q.partattrs)))
             OR EXISTS (SELECT FROM pg_catalog.pg_type t
                        JOIN pg_catalog.pg_depend d ON d.refobjid IN (t.oid, t.typarray)
                        WHERE t.oid = f.reltype
                          AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
                          AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                          AND d.deptype = 'n')
           THEN NULL
           ELSE CASE WHEN f.reloftype <> 0
                     THEN pg_catalog.format('ALTER TABLE %s NOT OF; ', f.oid::pg_catalog.regclass)
                     ELSE '' END
                || pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I TYPE pg_catalog.text',
                                     f.oid::pg_catalog.regclass, f.attname)
       END AS statement
FROM affected f
ORDER BY f.oid, f.attnum
