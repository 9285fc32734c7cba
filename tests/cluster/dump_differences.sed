# The kinds of line in which a dump of the old server and one of the new server, both written by the new
# version's pg_dumpall, may differ, each with its reason. `compare_dumps` applies this to both; what
# remains must be the same text. It is used with `sed -E`.

# Every dump has its own random key, and names the server it was made from.
/^\\(un)?restrict /d
/^-- Dumped from database version /d

# Lines that only one of the two has (below) come with an empty line of their own.
/^$/d

# 11: triggers execute a function; servers before deparse it as a procedure.
s/^(CREATE (CONSTRAINT )?(EVENT )?TRIGGER .*) EXECUTE PROCEDURE /\1 EXECUTE FUNCTION /

# 12: tables have an access method; pg_dump states it where the server knows of one.
/^SET default_table_access_method = heap;$/d

# 14: every range type has a multirange type; the upgrade makes those that were not there.
/^    multirange_type_name = /d

# 14: arguments of procedures show their mode, because OUT ones count as arguments.
/PROCEDURE /s/([(] ?|, )IN /\1/g

# 16: a view over one relation deparses its columns without the name of the relation.
/^CREATE (OR REPLACE )?((MATERIALIZED |RECURSIVE )?VIEW|RULE) /,/;$/s/("[^"]+"|[a-z_0-9]+)\.//g

# 16: memberships have a grantor and an option of their own to inherit, until then an attribute of the
# member. (That it is the right one is seen from the plain restoration.)
/^GRANT .* GRANTED BY /{
    s/ GRANTED BY .*;$/;/
    s/ WITH ADMIN OPTION, INHERIT (TRUE|FALSE);$/ WITH ADMIN OPTION;/
    s/ WITH INHERIT (TRUE|FALSE);$/;/
}

# 16: XMLSERIALIZE can indent, and a view says that it does not.
s/(XMLSERIALIZE\([^;]*) NO INDENT\)/\1)/

# 17: MAINTAIN is a privilege of tables, so all of those that the old server knew are not all any more: an
# owner from whom they were revoked keeps the new one.
/^GRANT MAINTAIN ON TABLE /d
s/^(GRANT [A-Z,]*),MAINTAIN([A-Z,]* ON TABLE )/\1\2/
s/^REVOKE SELECT,INSERT,REFERENCES,DELETE,TRIGGER,TRUNCATE,UPDATE ON /REVOKE ALL ON /

# The roles of a policy come in the order in which pg_authid is read. (That they are the same ones is seen
# from the plain restoration.)
s/^(CREATE POLICY .*) TO [^(]*, [^(]* (USING|WITH) /\1 TO several \2 /

# 18: not-null constraints have names; pg_dump states those that are not the name it would be given.
s/ CONSTRAINT [^ ]+_not_null NOT NULL/ NOT NULL/
