-- Bool, bytea, "char", name, int8, int2, int4, text, oid, tid, xid, cid, json, jsonb, float4, float8,
-- money, macaddr, inet, cidr, bpchar, varchar, date, time, timestamp, timestamptz, interval, timetz,
-- bit, varbit, numeric, uuid, tsvector, tsquery; then their arrays. The numbers are the same in
-- every version, and none of them is made of anything else.
EXISTS (SELECT FROM pg_catalog.pg_attribute a
        WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
          AND a.atttypid NOT IN (
        16, 17, 18, 19, 20, 21, 23, 25, 26, 27, 28, 29, 114, 3802, 700, 701, 790, 829, 869,
        650, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3614,
        3615, 1000, 1001, 1002, 1003, 1016, 1005, 1007, 1009, 1028, 1010, 1011, 1012, 199,
        3807, 1021, 1022, 791, 1040, 1041, 651, 1014, 1015, 1182, 1183, 1115, 1185, 1187,
        1270, 1561, 1563, 1231, 2951, 3643, 3645))
