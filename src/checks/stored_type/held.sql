-- From the types of columns users made down to the parts of those: they are few, and most have
-- none.
held (type, part) AS (
    SELECT DISTINCT a.atttypid, a.atttypid
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT h.type, p.part
    FROM held h
    CROSS JOIN LATERAL (
        SELECT t.typbasetype
        FROM pg_catalog.pg_type t
        WHERE t.oid = h.part AND t.typtype = 'd'
      UNION ALL
        SELECT t.typelem
        FROM pg_catalog.pg_type t
        WHERE t.oid = h.part AND t.typtype = 'b' AND t.typelem <> 0
      UNION ALL
        SELECT r.rngsubtype
        FROM pg_catalog.pg_range r
        WHERE r.rngtypid = h.part
      UNION ALL
        -- A multirange hangs on its range; pg_range names it only from 14 on.
        SELECT d.refobjid
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_depend d ON d.objid = t.oid
        WHERE t.oid = h.part AND t.typtype = 'm'
          AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
          AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
          AND d.deptype = 'i'
      UNION ALL
        SELECT a.atttypid
        FROM pg_catalog.pg_type t
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid
        WHERE t.oid = h.part AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
    ) AS p (part)
)
