# Sourced by the other scripts: installs what a fresh Debian or Ubuntu lacks.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# need COMMAND PACKAGE...: where COMMAND is missing, installs the packages.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null || apt_install "$@" || die "$command is missing: install $*, and try again."
}

apt_install() {
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    command -v apt-get >/dev/null || return 1
    say "Installing $* ..."
    "${root[@]}" apt-get -qq update >&2 &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "$@" >&2
}
