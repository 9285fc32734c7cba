SET search_path = app;

CREATE VIEW simple AS SELECT id, word, amount FROM plain WHERE id > 10;
CREATE VIEW over_view WITH (security_barrier) AS SELECT id, upper(word) AS "Upper, 'word'" FROM simple WHERE amount > 5;
CREATE VIEW checked AS SELECT id, word FROM plain WHERE id < 100000 WITH CASCADED CHECK OPTION;
ALTER VIEW checked ALTER word SET DEFAULT 'default of the view';
CREATE RECURSIVE VIEW ancestors (id, depth) AS
    SELECT id, 1 FROM parent WHERE self IS NULL
    UNION ALL SELECT p.id, depth + 1 FROM parent p JOIN ancestors a ON p.self = a.id;
-- Columns beside the key of a GROUP BY make the view depend on the primary key.
CREATE VIEW grouped AS SELECT p.id, p.word, count(c.id) AS changes FROM plain p LEFT JOIN change c ON c.id = p.id GROUP BY p.id;
CREATE VIEW complicated AS
    WITH w AS (SELECT amount % 10 AS m, list, row_number() OVER (PARTITION BY amount ORDER BY id) AS r FROM indexed)
    SELECT m, count(*) FILTER (WHERE r > 2) AS n, array_agg(DISTINCT l ORDER BY l) AS lists,
        grouping(m) AS g, percentile_cont(0.5) WITHIN GROUP (ORDER BY r) AS p
    FROM w, LATERAL unnest(list) l GROUP BY ROLLUP (m) HAVING count(*) > 5;
CREATE VIEW of_types AS SELECT id, (an_address).street, a_company, a_mood::text || 'x' AS mood,
    ROW(1, 'a')::text AS "row" FROM every_type;
CREATE VIEW starred AS SELECT * FROM dropped;
CREATE VIEW with_function AS SELECT t.*, add_all(1, 2, 3) AS total FROM table_of(3) t;
\if :v15
CREATE VIEW as_invoker WITH (security_invoker) AS SELECT * FROM plain;
\endif
CREATE VIEW instead AS SELECT id, word FROM plain;
CREATE FUNCTION instead_of() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN INSERT INTO app.change (relation, act) VALUES ('instead', TG_OP); RETURN NEW; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE ON instead FOR EACH ROW EXECUTE PROCEDURE instead_of();
CREATE RULE redirect AS ON DELETE TO instead DO INSTEAD INSERT INTO change (relation, act, argument)
    VALUES ('instead', 'rule', OLD.word) RETURNING id::integer, argument;
ALTER VIEW simple OWNER TO app_owner;

CREATE MATERIALIZED VIEW refreshed AS SELECT id, repeat(word, 400) AS long_word FROM plain WHERE id <= 40;
CREATE UNIQUE INDEX refreshed_id ON refreshed (id);
CREATE MATERIALIZED VIEW in_tablespace TABLESPACE ts_a AS SELECT count(*) AS n, 'x'::text AS word FROM plain;
CREATE MATERIALIZED VIEW not_populated AS SELECT id FROM plain WITH NO DATA;
CREATE INDEX ON not_populated (id);
CREATE MATERIALIZED VIEW over_refreshed WITH (fillfactor = 80) AS SELECT id, length(long_word) FROM refreshed;
CREATE MATERIALIZED VIEW once_populated AS SELECT id, word FROM plain;
REFRESH MATERIALIZED VIEW once_populated WITH NO DATA;
INSERT INTO plain (word) VALUES ('before the refresh');
-- A refresh gives the toast table a new OID, and the toast pointers of the rows carry it.
REFRESH MATERIALIZED VIEW refreshed;
REFRESH MATERIALIZED VIEW CONCURRENTLY refreshed;

SELECT proof.ask('SELECT * FROM over_view WHERE id < 100');
SELECT proof.ask('SELECT * FROM ancestors');
SELECT proof.ask('SELECT * FROM complicated');
SELECT proof.ask('SELECT * FROM grouped WHERE changes > 0');
SELECT proof.ask('SELECT * FROM of_types WHERE id < 5');
SELECT proof.ask('SELECT * FROM with_function');
SELECT proof.scan('SELECT id, md5(long_word) FROM refreshed WHERE id BETWEEN 5 AND 30');
SELECT proof.refuse('INSERT INTO app.checked (id) VALUES (100000)', '44000');
SELECT proof.refuse('SELECT * FROM app.not_populated', '55000');
SELECT proof.try('INSERT INTO app.checked (id) VALUES (90000)');
SELECT proof.try('INSERT INTO app.instead VALUES (1, ''x'')');
SELECT proof.try('DELETE FROM app.instead WHERE id = 1');
