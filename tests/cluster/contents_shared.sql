-- Prints what all databases share; run by `contents` once. The grantor of a membership is left out:
-- before 16 it is not carried.
SELECT 'role', r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
    r.rolbypassrls, r.rolconnlimit, coalesce(r.rolvaliduntil::text, '-'), coalesce(md5(r.rolpassword), '-'),
    coalesce(shobj_description(r.oid, 'pg_authid'), '')
FROM pg_authid r WHERE r.rolname !~ '^pg_'
ORDER BY r.rolname::text COLLATE "C";

SELECT 'member', r.rolname, m.rolname, bool_or(a.admin_option)
FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^pg_'
GROUP BY r.rolname, m.rolname
ORDER BY r.rolname::text COLLATE "C", m.rolname::text COLLATE "C";

SELECT 'setting', coalesce(d.datname, '-'), coalesce(r.rolname, '-'), setting
FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
    unnest(s.setconfig) setting
ORDER BY d.datname::text COLLATE "C", r.rolname::text COLLATE "C", setting COLLATE "C";

SELECT 'database', d.datname, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
    d.datistemplate, d.datallowconn, d.datconnlimit, t.spcname,
    array_to_string(array(SELECT a::text FROM unnest(coalesce(d.datacl, acldefault('d', d.datdba))) a ORDER BY 1), ' '),
    coalesce(shobj_description(d.oid, 'pg_database'), '')
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
ORDER BY d.datname::text COLLATE "C";

SELECT 'tablespace', t.spcname, pg_get_userbyid(t.spcowner), pg_tablespace_location(t.oid),
    array_to_string(array(SELECT unnest(t.spcoptions) ORDER BY 1), ','),
    array_to_string(array(SELECT a::text FROM unnest(coalesce(t.spcacl, acldefault('t', t.spcowner))) a ORDER BY 1), ' '),
    coalesce(shobj_description(t.oid, 'pg_tablespace'), '')
FROM pg_tablespace t
ORDER BY t.spcname::text COLLATE "C";
