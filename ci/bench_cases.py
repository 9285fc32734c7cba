"""The clusters ci/bench upgrades, and the SQL that makes them and asks what they hold."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    tables: int = 0
    databases: int = 1
    indexes: bool = True
    large_objects: int = 0
    gigabytes: int = 0
    # More of these in a second table, of segments that are nothing but a hole.
    hollow_gigabytes: int = 0

    def max_locks(self):
        """pg_dump locks every table of a database in one transaction."""
        return max(64, self.tables // 10)


CASES = {
    "10": Case("10 tables", 10),
    "300": Case("300 tables", 300),
    "5000": Case("5,000 tables", 5_000),
    "20000": Case("20,000 tables", 20_000),
    "databases": Case("200 databases of 50 tables", 50, databases=200),
    "large-objects": Case("300,000 large objects", large_objects=300_000),
    "5gb": Case("5 GB in one table", gigabytes=5),
    "2gb": Case("2 GB in one table", gigabytes=2),
    "1tb": Case("1 TB in two tables, all but 1 GB of it holes", gigabytes=1, hollow_gigabytes=1023),
    "memory": Case("100,000 relations (33,334 tables without indexes)", 33_334, indexes=False),
}

TABLES = """
DO $$ BEGIN
    FOR i IN 1..{tables} LOOP
        EXECUTE format('CREATE TABLE t_%s (id int {key}, name text, body text)', i);
        EXECUTE format('INSERT INTO t_%s SELECT n, md5(n::text), repeat(md5(n::text), 4)
                        FROM generate_series(1, 10) n', i);
        {index}
        IF i % 500 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$;
"""
INDEX = "EXECUTE format('CREATE INDEX ON t_%s (name)', i);"

LARGE_OBJECTS = """
DO $$ BEGIN
    FOR i IN 1..{large_objects} LOOP
        PERFORM lo_from_bytea(0, convert_to(md5(i::text), 'UTF8'));
        IF i % 5000 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$;
"""

# Four rows fill a page; a compressed or toasted body would not reach the size.
BIG_TABLE = """
CREATE TABLE t_1 (id bigint, body text);
ALTER TABLE t_1 ALTER COLUMN body SET STORAGE PLAIN;
INSERT INTO t_1 SELECT n, repeat(md5(n::text), 62)
    FROM generate_series(1, {gigabytes}::bigint * 131072 * 4) n;
"""

# No table's rows are read but those of t_1: reading all would take longer than the upgrades.
CONTENTS = """
SELECT current_database(), count(*), sum(pg_relation_size(oid)), sum(hashtext(oid || relname))
    FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'i', 't');
SELECT count(*), sum(length(data)), sum(hashtext(loid || encode(data, 'hex'))) FROM pg_largeobject;
SELECT to_regclass('t_1') IS NOT NULL AS filled \\gset
\\if :filled
SELECT count(*), sum(id) FROM t_1;
\\endif
"""


def script_of(case):
    """What psql must be told to fill a fresh cluster."""
    script = "CREATE DATABASE d_1;\n\\connect d_1\n"
    if case.gigabytes:
        script += BIG_TABLE.format(gigabytes=case.gigabytes)
    if case.tables:
        script += TABLES.format(tables=case.tables, key="PRIMARY KEY" if case.indexes else "",
                                index=INDEX if case.indexes else "")
    if case.large_objects:
        script += LARGE_OBJECTS.format(large_objects=case.large_objects)
    if case.hollow_gigabytes:
        script += "CREATE TABLE t_hollow (id int);\nSELECT pg_relation_filepath('t_hollow');\n"
    script += "\\connect postgres\n"
    for number in range(2, case.databases + 1):
        script += f"CREATE DATABASE d_{number} TEMPLATE d_1 STRATEGY file_copy;\n"
    return script


def grouped(results):
    """Yields a case, a new version, pg_upgrade's runs and ours, in the order of the cases."""
    order = list(CASES)
    for case, new in sorted({(run["case"], run["new"]) for run in results},
                            key=lambda key: (order.index(key[0]), key[1])):
        runs = [run for run in results if (run["case"], run["new"]) == (case, new)]
        peer, ours = ([run for run in runs if run["program"] == program]
                      for program in ("pg_upgrade", "pg_migrator"))
        yield CASES[case], new, peer, ours
