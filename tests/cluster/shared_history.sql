VACUUM FULL pg_authid;
VACUUM FULL pg_database;
VACUUM FULL pg_shdepend;
REINDEX TABLE pg_auth_members;
