SET search_path = app;

-- Comments on whatever can have one and has none yet.
DO $$
DECLARE
    object record;
BEGIN
    FOR object IN
        SELECT DISTINCT a.type, a.identity
        FROM (
            SELECT 'pg_class'::regclass AS class, c.oid, 0 AS part FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                WHERE nspname IN ('app', 'odd Schëma') AND relkind <> 'c'
            UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute
                WHERE attrelid IN ('plain'::regclass, 'simple'::regclass, 'dropped'::regclass, 'address'::regclass,
                    'refreshed'::regclass, 'unreachable'::regclass) AND attnum > 0 AND NOT attisdropped
            UNION ALL SELECT 'pg_proc'::regclass, p.oid, 0 FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
                WHERE nspname IN ('app', 'odd Schëma') AND proname NOT IN ('own_percentile', 'long_body')
            UNION ALL SELECT 'pg_type'::regclass, t.oid, 0 FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
                WHERE nspname IN ('app', 'odd Schëma') AND typtype IN ('b', 'd', 'e', 'r') AND typelem = 0
            UNION ALL SELECT 'pg_constraint'::regclass, c.oid, 0 FROM pg_constraint c JOIN pg_namespace n ON n.oid = connamespace
                WHERE nspname = 'app' AND contype <> 't' AND conrelid <> 0
            UNION ALL SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger
                WHERE tgrelid IN ('plain'::regclass, 'select'::regclass) AND NOT tgisinternal
            UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0 FROM pg_rewrite WHERE ev_class = 'with_options'::regclass
            UNION ALL SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
            UNION ALL SELECT 'pg_operator'::regclass, o.oid, 0 FROM pg_operator o JOIN pg_namespace n ON n.oid = oprnamespace
                WHERE nspname IN ('app', 'odd Schëma') AND oprcode <> 0
            UNION ALL SELECT 'pg_opclass'::regclass, o.oid, 0 FROM pg_opclass o JOIN pg_namespace n ON n.oid = opcnamespace
                WHERE nspname = 'app'
            UNION ALL SELECT 'pg_opfamily'::regclass, o.oid, 0 FROM pg_opfamily o JOIN pg_namespace n ON n.oid = opfnamespace
                WHERE nspname = 'app'
            UNION ALL SELECT 'pg_cast'::regclass, c.oid, 0 FROM pg_cast c WHERE castsource IN ('label'::regtype, 'mood'::regtype)
            UNION ALL SELECT 'pg_collation'::regclass, c.oid, 0 FROM pg_collation c JOIN pg_namespace n ON n.oid = collnamespace
                WHERE nspname IN ('app', 'odd Schëma')
            UNION ALL SELECT 'pg_ts_config'::regclass, oid, 0 FROM pg_ts_config WHERE cfgname = 'own_search'
            UNION ALL SELECT 'pg_ts_dict'::regclass, oid, 0 FROM pg_ts_dict WHERE dictname LIKE 'own%'
            UNION ALL SELECT 'pg_ts_parser'::regclass, oid, 0 FROM pg_ts_parser WHERE prsname LIKE 'own%'
            UNION ALL SELECT 'pg_ts_template'::regclass, oid, 0 FROM pg_ts_template WHERE tmplname LIKE 'own%'
            UNION ALL SELECT 'pg_am'::regclass, oid, 0 FROM pg_am WHERE amname LIKE 'own%'
            UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0 FROM pg_statistic_ext
            UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0 FROM pg_foreign_data_wrapper
            UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0 FROM pg_foreign_server
            UNION ALL SELECT 'pg_namespace'::regclass, oid, 0 FROM pg_namespace WHERE nspname IN ('app', 'odd Schëma')
            UNION ALL SELECT 'pg_publication'::regclass, oid, 0 FROM pg_publication
        ) o, LATERAL pg_identify_object(o.class, o.oid, o.part) a
    LOOP
        EXECUTE format('COMMENT ON %s %s IS %L',
            CASE
                WHEN object.type LIKE '% column' THEN 'COLUMN'
                WHEN object.type = 'table constraint' THEN 'CONSTRAINT'
                WHEN object.type = 'statistics object' THEN 'STATISTICS'
                ELSE upper(replace(object.type, '-', ' '))
            END,
            object.identity, 'comment on "' || object.type || '": it''s \ größe');
    END LOOP;
END
$$;
COMMENT ON AGGREGATE own_percentile(float8 ORDER BY anyelement) IS 'an ordered-set aggregate';
COMMENT ON CONSTRAINT no_space ON DOMAIN email IS 'a constraint of a domain';
