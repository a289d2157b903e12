#!/bin/bash
# Builds the wheel and the Debian package into dist/: deb.sh [WHEEL]. Needs dpkg-deb and a .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-/usr/bin/python3}
mkdir -p dist
wheel=${1:-}
if [ -z "$wheel" ]; then
    rm -f dist/lvskeeper-*.whl
    .venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
    wheel=$(echo dist/lvskeeper-*.whl)
fi
version=$(basename "$wheel" | cut -d- -f2)
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
packaging/stage.sh "$stage" "$wheel"

# Compiled libraries inside are for this very Python
read -r this next < <("$python" -c \
    'import sys; a, b = sys.version_info[:2]; print(f"{a}.{b} {a}.{b + 1}")')
size=$(du -sk --apparent-size "$stage" | cut -f1)
mkdir "$stage/DEBIAN"
cat >"$stage/DEBIAN/control" <<END
Package: lvskeeper
Version: $version
Architecture: $architecture
Maintainer: the authors of lvskeeper <lvskeeper@localhost>
Installed-Size: $size
Depends: python3 (>= $this), python3 (<< $next), iproute2, kmod, nftables, libpcre2-8-0, systemd | systemd-standalone-sysusers
Recommends: conntrackd, ipvsadm, libnftables1
Suggests: keepalived
Section: net
Priority: optional
Description: high availability for Linux Virtual Server
 A daemon in the style of keepalived: it reads keepalived.conf, checks the real
 servers, keeps the kernel's IPVS tables as they ought to be, and moves virtual
 addresses with VRRP. FULLNAT and SYNPROXY work on stock kernels.
END
(cd "$stage" && find etc -type f -printf '/%p\n' | sort) >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "packaging/debian/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find usr -type f -exec md5sum {} +) >"$stage/DEBIAN/md5sums"
# One alone, so that dist/lvskeeper_*.deb names it
rm -f dist/lvskeeper_*.deb
package=dist/lvskeeper_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$stage" "$package" >/dev/null
echo "$package"
