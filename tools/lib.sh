# Shared by the scripts in tools/: where we are, how we speak, how we become root. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail
BF_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export BF_HOME

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }

# Run a command as root: as it is when we are root, else through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || die "this needs root: install sudo or run as root: $*" 4
    sudo "$@"
}
