#!/bin/bash
# Makes a machine ready for `make demo` (bootstrap.sh demo), `make test` (bootstrap.sh test) or
# `make package-test` (bootstrap.sh package): missing Debian packages, then the virtual environment
# in .venv. Quick where nothing is missing.
# It changes nothing on the machine but packages, and no service is started or left enabled.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:?demo, test or package}
python=/usr/bin/python3

say() { echo "bootstrap: $*"; }
fail() { echo "bootstrap: $1" >&2; echo "hint: $2" >&2; exit "${3:-4}"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

needs_vm() {
    [ -n "${LVSKEEPER_KERNEL:-}" ] && return 0
    [ -e /proc/net/ip_vs ] && return 1
    ! { command -v modprobe >/dev/null && modprobe --quiet --dry-run ip_vs; }
}

wanted_packages() {
    local purposes="all" architecture
    [ "$purpose" = demo ] || purposes+=" test"
    [ "$purpose" = package ] && purposes+=" package"
    if needs_vm; then
        architecture=$(dpkg --print-architecture)
        purposes+=" vm vm-$architecture"
    fi
    awk -v wanted=" $purposes " '!/^#/ && index(wanted, " " $1 " ") { print $2 }' packaging/apt.txt
}

missing_packages() {
    local wanted installed
    wanted=$(wanted_packages)
    # shellcheck disable=SC2086 # one word a package
    installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
        awk '$1 == "installed" { print $2 }') || true
    comm -23 <(sort <<<"$wanted") <(sort <<<"$installed")
}

# Services of the packages that we bring: neither started by the installation nor enabled after it.
install_packages() {
    local guard=/usr/sbin/policy-rc.d own_guard="" service package
    say "installing the Debian packages $* (a minute or two)"
    if [ ! -e $guard ]; then
        own_guard=$guard
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee $guard >/dev/null
        as_root chmod 755 $guard
    fi
    mkdir -p .cache
    {
        as_root apt-get update -qq &&
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get install --yes --no-install-recommends -qq "$@"
    } >.cache/apt.log 2>&1 || {
        tail -n 20 .cache/apt.log >&2
        fail "apt-get did not install: $*" "the whole of its output is in .cache/apt.log"
    }
    for package in "$@"; do
        case $package in
            keepalived) service=keepalived ;;
            nginx-light) service=nginx ;;
            ipvsadm | nftables | frr | conntrackd) service=$package ;;
            *) continue ;;
        esac
        if command -v systemctl >/dev/null; then
            as_root systemctl disable --quiet "$service.service" >/dev/null 2>&1 || true
        fi
    done
    if [ -n "$own_guard" ]; then
        as_root rm -f "$own_guard"
        trap - EXIT
    fi
}

debian_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" = 0 ] && return
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        fail "missing packages: ${missing[*]}" "as root: apt-get install ${missing[*]}" 3
    fi
    install_packages "${missing[@]}"
}

# Other systems: we do not know their packages, so we say what is missing and let a person decide.
other_system() {
    local tool missing=() tools=("$python" ip nft conntrack conntrackd ipvsadm modprobe)
    [ "$purpose" = demo ] || tools+=(keepalived nginx tshark vrrpd)
    [ "$purpose" = package ] && tools+=(buildah debootstrap dpkg-deb rpmbuild rpmlint)
    needs_vm && tools+=("qemu-system-$(uname -m)" busybox)
    PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr:/usr/libexec/frr
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ "${#missing[@]}" = 0 ] || fail "not on this system: ${missing[*]}" \
        "install them with your package manager; on Debian 12 or newer it happens by itself"
}

virtual_environment() {
    local extra=lab stamp
    [ "$purpose" = demo ] || extra=dev
    stamp=.venv/.lvskeeper-$extra
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old" "lvskeeper needs Python 3.11, as in Debian 12"
    # A moved or copied checkout brings an environment that names its old place
    if ! [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" = "$PWD/.venv" ]; then
        say "making the virtual environment .venv"
        "$python" -m venv --clear .venv
    fi
    if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
        say "installing the Python packages (about a minute)"
        .venv/bin/python -m pip install --quiet --upgrade pip
        .venv/bin/python -m pip install --quiet --editable ".[$extra]"
        touch "$stamp"
        [ "$extra" = dev ] && touch .venv/.lvskeeper-lab
    fi
    # Compiled here once, rather than slowly in each emulated machine
    .venv/bin/python -m compileall -q lvskeeper tests >/dev/null || true
}

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    debian_packages
else
    other_system
fi
virtual_environment
