-- Freezes all rows of a database; whatever stays old refers to a past that was not carried.
VACUUM (FREEZE);
DO $$
DECLARE
    frozen record;
BEGIN
    FOR frozen IN SELECT oid::regclass AS name, age(relfrozenxid) AS age, mxid_age(relminmxid) AS multi_age
        FROM pg_class WHERE relkind IN ('r', 'm', 't') AND relfrozenxid <> '0'
    LOOP
        IF frozen.age NOT BETWEEN 0 AND 100000 OR frozen.multi_age NOT BETWEEN 0 AND 100000 THEN
            RAISE '% is not frozen: age %, multixact age %', frozen.name, frozen.age, frozen.multi_age;
        END IF;
    END LOOP;
END
$$;
