# SPDX-License-Identifier: MPL-2.0
# Shared by the scripts: where the project is, how to speak, how to install, how to build. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
jobs=$(nproc)
PYTHON=${WEFT_PYTHON:-/usr/bin/python3} # Debian's, which has python3-zmq and python3-msgpack

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' green='' red='' dim='' plain=''; fi

say() { printf '%s\n' "${bold}==>${plain} $*"; }
die() { printf '%s\n' "${red}$(basename "$0"):${plain} $*" >&2; exit 1; }

packages_build=(gcc cmake ninja-build pkg-config python3 libzmq3-dev libczmq-dev libmsgpack-dev liblz4-dev libzstd-dev)
packages_test=(clang clang-format libclang-rt-14-dev libcmocka-dev python3-zmq python3-msgpack ccache man-db)

# install_packages NAME...: through apt, only what is missing.
install_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null || die "needs the Debian packages ${missing[*]}, and apt-get is not here to install them"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "run as root, or install first: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    local trace
    trace=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -qq && DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$trace" 2>&1; then
        tail -20 "$trace" >&2
        rm -f "$trace"
        die "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$trace"
}

# build PRESET [cmake options...]: configures and builds into build/PRESET.
build() {
    local preset=$1 launcher=()
    shift
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
    cmake -S "$root" --preset "$preset" "${launcher[@]}" "$@" >"$root/build/$preset.configure" 2>&1 || { tail -30 "$root/build/$preset.configure" >&2; die "configuring $preset failed"; }
    cmake --build "$root/build/$preset" -j "$jobs" >"$root/build/$preset.make" 2>&1 || { grep -E -A6 'error|FAILED' "$root/build/$preset.make" | head -60 >&2; die "building $preset failed: all of it in build/$preset.make"; }
}
