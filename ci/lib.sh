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

# Where temporary files lie on ext4 without a journal, gives them a file system of its own in
# the directory $1, if that may be mounted: there ext4 shuns for some time every inode that was
# freed, and who makes and deletes clusters all day waits for it to find others.
mount_scratch() {
    local image=$1/image mounted=$1/t device
    device=$(findmnt -no SOURCE,FSTYPE -T "${TMPDIR:-/tmp}" | sed -n 's/^\(.*\) ext4$/\1/p')
    [[ -n "$device" && $EUID -eq 0 ]] || return 0
    compgen -G "/proc/fs/jbd2/${device##*/}-*" >/dev/null && return
    chmod 755 "$1" && mkdir "$mounted" && truncate -s 32G "$image" || return
    mkfs.ext4 -q "$image" && mount -o loop "$image" "$mounted" || return 0
    chmod 1777 "$mounted"
    export TMPDIR=$mounted
}

unmount_scratch() {
    if mountpoint -q "$1/t"; then umount "$1/t" || umount -l "$1/t"; fi
    rm -rf "$1"
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

# File systems that know clones; only root can mount them, and its tests make them.
need_file_systems() {
    if ((EUID == 0)); then need_packages btrfs-progs xfsprogs; fi
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
