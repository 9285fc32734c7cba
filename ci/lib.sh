# shellcheck shell=bash
# Shared by the scripts of this directory; sourced, never run.

# PostgreSQL does not run as root: where root runs the scripts, this user runs the servers.
server_user=pgmtest

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Where nobody is there to be asked for a password, the caller says what it needed.
as_root() {
    if ((EUID == 0)); then "$@"
    elif [[ -t 2 ]]; then sudo "$@"
    else sudo -n "$@"
    fi
}

need_server_user() {
    if ((EUID == 0)) && ! id -u "$server_user" &>/dev/null; then
        useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$server_user"
    fi
}

# Runs a program with a clean environment, and never as root.
as_server() {
    local clean=(env -i PATH=/usr/bin:/bin LC_ALL=C)
    if ((EUID == 0)); then
        runuser -u "$server_user" -- "${clean[@]}" "$@"
    else
        "${clean[@]}" "$@"
    fi
}

apt_updated=
apt_update() {
    [[ -n "$apt_updated" ]] && return
    as_root apt-get update -qq >/dev/null || die "apt-get update failed"
    apt_updated=1
}

# Installs those of the Debian packages that are missing.
need_packages() {
    local wanted missing
    wanted=$(printf '%s\n' "$@" | sort -u)
    # shellcheck disable=SC2016,SC2086
    missing=$(comm -23 <(echo "$wanted") \
        <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
            sed -n 's/^installed //p' | sort -u))
    [[ -z "$missing" ]] && return
    apt_update
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing >/dev/null </dev/null ||
        die "cannot install: ${missing//$'\n'/ }"
}

# Cargo, its lints, and the linker that Rust takes from the system.
need_build_tools() {
    if ! command -v cargo >/dev/null && [[ -f "${CARGO_HOME:-$HOME/.cargo}/env" ]]; then
        # shellcheck disable=SC1091
        source "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    command -v cargo >/dev/null || die "there is no Rust toolchain"
    command -v cc >/dev/null || need_packages gcc libc6-dev
}
