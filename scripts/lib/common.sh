# SPDX-License-Identifier: MPL-2.0
# Shared by the scripts: where the project is, how to speak, how to install, how to build. Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
jobs=$(nproc)
PYTHON=${WEFT_PYTHON:-/usr/bin/python3} # Debian's, which has python3-zmq and python3-msgpack

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' green='' red='' dim='' plain=''; fi

say() { printf '%s\n' "${bold}==>${plain} $*"; }
die() { printf '%s\n' "${red}$(basename "$0"):${plain} $*" >&2; exit 1; }

packages_build=(gcc cmake ninja-build pkg-config python3 libzmq3-dev libczmq-dev libmsgpack-dev liblz4-dev libzstd-dev libraft-dev)
packages_test=(make clang clang-format libclang-rt-14-dev libcmocka-dev python3-zmq python3-msgpack ccache man-db)

# apt_get ARGUMENTS...: as root, quietly; what it said, if it fails.
apt_get() {
    local as_root=() trace
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "run as root, or have sudo: apt-get $*"
        as_root=(sudo)
    fi
    trace=$(mktemp)
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$trace" 2>&1; then
        tail -20 "$trace" >&2
        rm -f "$trace"
        return 1
    fi
    rm -f "$trace"
}

installed_version() { dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'; }

# install_packages NAME...: through apt, only what is missing. libraft-dev means 0.22 or later (docs/decisions/quorum.md).
install_packages() {
    local missing=() name raft=false
    for name in "$@"; do
        if [ "$name" = libraft-dev ]; then
            dpkg --compare-versions "$(installed_version libraft-dev)" ge 0.22 || raft=true
        else
            [ -n "$(installed_version "$name")" ] || missing+=("$name")
        fi
    done
    $raft || [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "needs the Debian packages $*, and apt-get is not here to install them"
    apt_get update || die "apt-get update failed"
    if [ ${#missing[@]} -gt 0 ]; then
        say "installing ${#missing[@]} Debian packages: ${missing[*]}"
        apt_get install -y --no-install-recommends "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
    fi
    if $raft; then install_raft; fi
}

candidate_version() { apt-cache policy "$1" | sed -n 's/^  Candidate: //p'; }

# libraft 0.22: plain where the release has it, else from its own backports, at the archive that this machine uses already.
install_raft() {
    local codename archive entry=/etc/apt/sources.list.d/weft-backports.list key=/usr/share/keyrings/debian-archive-keyring.gpg
    say "installing the Debian package libraft-dev"
    if dpkg --compare-versions "$(candidate_version libraft-dev)" ge 0.22; then
        apt_get install -y --no-install-recommends libraft-dev || die "apt-get could not install: libraft-dev"
        return
    fi
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    if ! apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' | grep -qx "$codename-backports"; then
        archive=$(apt-get indextargets --format '$(RELEASE) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
            awk -v name="$codename" '($1 == name || $2 == name) && !uri { uri = $3 } END { print uri }')
        [ -n "$archive" ] || die "libraft 0.22 is needed, and apt knows no archive of $codename to look for $codename-backports in"
        [ -e "$key" ] && key="[signed-by=$key] " || key=''
        if [ "$(id -u)" -eq 0 ]; then cat >"$entry"; else sudo tee "$entry" >/dev/null; fi <<<"deb $key$archive $codename-backports main"
        apt_get update || die "apt-get update failed with $entry; remove it if this release has no backports"
    fi
    apt_get install -y --no-install-recommends -t "$codename-backports" libraft-dev || die "apt-get could not install libraft-dev from $codename-backports"
}

# build PRESET [cmake options...]: configures and builds into build/PRESET.
build() {
    local preset=$1 launcher=()
    shift
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
    cmake -S "$root" --preset "$preset" "${launcher[@]}" "$@" >"$root/build/$preset.configure" 2>&1 || { tail -30 "$root/build/$preset.configure" >&2; die "configuring $preset failed"; }
    cmake --build "$root/build/$preset" -j "$jobs" >"$root/build/$preset.make" 2>&1 || { grep -E -A6 'error|FAILED' "$root/build/$preset.make" | head -60 >&2; die "building $preset failed: all of it in build/$preset.make"; }
}
