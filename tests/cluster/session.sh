# shellcheck shell=bash
# How the scripts of this directory run programs and reach a server. Sourced, not run.

server_user=pgmtest
superuser=${PGUSER:-postgres}
# That of the server, where a name of a database is to be handed back as its bytes.
client_encoding=${PGM_CLIENT_ENCODING:-UTF8}

# Output that is the same in every version, and writes allowed wherever a database forbids them.
pinned='-c client_min_messages=warning -c search_path= -c DateStyle=ISO -c IntervalStyle=iso_8601'
pinned+=' -c TimeZone=UTC -c bytea_output=hex -c extra_float_digits=0 -c lc_monetary=C'
pinned+=' -c lc_messages=C -c default_transaction_read_only=off -c default_tablespace='
pinned+=' -c statement_timeout=10min -c row_security=on -c quote_all_identifiers=off'
pinned+=' -c standard_conforming_strings=on -c escape_string_warning=on'

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Runs a program as the user who owns the clusters; nothing of the caller's environment shapes it.
as_server_user() {
    local -a clean=(env -i PATH="$PATH" HOME=/ LC_ALL=C PGCLIENTENCODING="$client_encoding" PGTZ=UTC)
    if ((EUID == 0)); then
        setpriv --reuid "$server_user" --regid "$server_user" --clear-groups -- "${clean[@]}" "$@"
    else
        "${clean[@]}" "$@"
    fi
}

# A connection string naming database $1; a bare name would be taken apart at its "=".
conninfo() {
    local escaped=${1//\\/\\\\}
    escaped=${escaped//\'/\\\'}
    printf "host='%s' port=%s user='%s' dbname='%s'" "$socket_dir" "$port" "$superuser" "$escaped"
}

# Runs the script on standard input in database $1; further arguments are psql's.
sql() {
    local database=$1
    shift
    as_server_user env PGOPTIONS="$pinned" \
        "$psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@" -d "$(conninfo "$database")"
}

# The names of the databases that can be connected to, one a line. template1 is always there,
# postgres may have been dropped.
databases() {
    sql template1 <<<'SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname::text COLLATE "C"'
}

# Reads BINDIR_OF_PSQL SOCKETDIR PORT.
reach_server() {
    psql=$(realpath -e "$1")/psql
    socket_dir=$(realpath -e "$2")
    port=$3
    cd /
    server_version=$(sql template1 <<<'SHOW server_version_num') || die "no server at $socket_dir:$port"
    # A login trigger would write rows each time somebody looks at them.
    if ((server_version >= 170000)); then
        pinned+=' -c event_triggers=off'
    fi
}
