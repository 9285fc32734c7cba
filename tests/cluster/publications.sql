SET search_path = app;
SET client_min_messages = error;

CREATE PUBLICATION nothing_yet;
CREATE PUBLICATION "it's some" FOR TABLE parent, ONLY ancestor, replicated WITH (publish = 'insert, update');
ALTER PUBLICATION "it's some" OWNER TO app_owner;
\if :v13
CREATE PUBLICATION partitioned FOR TABLE by_hash WITH (publish_via_partition_root);
\endif
\if :v15
CREATE PUBLICATION filtered FOR TABLE child (id, parent) WHERE (id > 10) WITH (publish = 'insert');
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA "odd Schëma", TABLE child WHERE (id > 20)
    WITH (publish = 'insert, truncate');
\endif
CREATE SUBSCRIPTION "it's a subscription" CONNECTION 'host=nowhere password=''it\''s secret''' PUBLICATION a, "b c"
    WITH (connect = false, slot_name = NONE);
COMMENT ON SUBSCRIPTION "it's a subscription" IS 'never connected';
