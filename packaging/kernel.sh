#!/bin/bash
# Fetches the newest kernel that Debian offers for this release, from its backports, for the VM only:
# unpacked in .cache/kernels, never installed, and the machine's own package sources stay as they
# are. Where it cannot be had, one that was fetched before will do. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."
kernels=.cache/kernels
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
apt=$PWD/.cache/apt # package lists of its own

say() { echo "kernel: $*"; }

give_up() {
    local old
    old=$(find $kernels -path '*/boot/vmlinuz-*' 2>/dev/null | head -n 1)
    if [ -n "$old" ]; then
        say "$1; $old of an earlier day serves"
        exit 0
    fi
    say "$1" >&2
    exit 4
}

# The mirror that this machine takes its release from
mirror() {
    apt-get indextargets --format '$(CODENAME) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release || $2 == release { print $NF; exit }'
}

own_apt() {
    local tool=$1
    shift
    "$tool" -qq -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$apt" \
        -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

for tool in apt-get dpkg-deb depmod; do
    PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null || give_up "there is no $tool here"
done
[ -r $keyring ] || give_up "Debian's keyring $keyring is not here"
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
uri=$(mirror "$release")
[ -n "$uri" ] || give_up "no package source for the release ${release:-of this system}"

mkdir -p "$apt/lists/partial" "$apt/archives/partial" $kernels
echo "deb [signed-by=$keyring] $uri $release-backports main" >"$apt/sources.list"
# An error of one source is only a warning to apt-get, unless it is told otherwise
own_apt apt-get -o APT::Update::Error-Mode=any update 2>"$apt/log" ||
    give_up "$release-backports cannot be read: $(head -n 1 "$apt/log")"
meta=linux-image-$(dpkg --print-architecture)
package=$(own_apt apt-cache depends "$meta" 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }')
[ -n "$package" ] || give_up "$release-backports has no $meta"
version=${package#linux-image-}
if [ ! -e "$kernels/$version/boot/vmlinuz-$version" ]; then
    say "fetching $package from $release-backports"
    rm -rf $kernels/.new
    mkdir -p $kernels/.new/package
    (cd $kernels/.new/package && own_apt apt-get download "$package" 2>"$apt/log") ||
        give_up "$package did not come: $(head -n 1 "$apt/log")"
    dpkg-deb -x $kernels/.new/package/*.deb $kernels/.new
    rm -rf $kernels/.new/package
    PATH=$PATH:/usr/sbin:/sbin depmod -b "$PWD/$kernels/.new" "$version"
    find $kernels -mindepth 1 -maxdepth 1 ! -name .new -exec rm -rf {} +
    mv $kernels/.new "$kernels/$version"
fi
say "$version is in $kernels"
