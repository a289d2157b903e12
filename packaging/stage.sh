#!/bin/bash
# Puts the tree of a package into a directory: stage.sh DIRECTORY [WHEEL]. The program has a virtual
# environment of its own in /usr/lib/lvskeeper, made by the system's Python, so that nothing of the
# system's Python packages is touched, and no upgrade of those breaks it.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=$(realpath -m "${1:?directory}")
home=/usr/lib/lvskeeper
python=${PYTHON:-/usr/bin/python3}
pip=.venv/bin/python
wheel=${2:-}
zsh=${ZSH_FUNCTIONS:-/usr/share/zsh/vendor-completions}

fail() { echo "stage: $1" >&2; echo "hint: $2" >&2; exit 4; }
[ -x $pip ] || fail "there is no .venv" "packaging/bootstrap.sh demo makes it"

if [ -z "$wheel" ]; then
    rm -rf .cache/wheel
    $pip -m pip wheel --quiet --no-deps --wheel-dir .cache/wheel .
    wheel=$(echo .cache/wheel/lvskeeper-*.whl)
fi

mkdir -p "$stage$home"
"$python" -m venv --without-pip "$stage$home"
$pip -m pip --python "$stage$home/bin/python3" install --quiet --no-compile "$wheel"
# The places of the build are not those where it will run
rm -f "$stage$home"/bin/[Aa]ctivate*
for script in "$stage$home"/bin/*; do
    [ -L "$script" ] && continue
    if [ "$(basename "$script")" = lvskeeper ]; then
        sed -i "1s,.*,#!$home/bin/python3 -I," "$script"
    else
        rm "$script" # commands of libraries
    fi
done
sed -i "s,$stage,,g; /^command/d" "$stage$home/pyvenv.cfg"
rm -rf "$stage$home/include"
rm "$stage$home"/lib/python*/site-packages/lvskeeper-*.dist-info/direct_url.json
find "$stage$home/lib" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find "$stage$home/lib" -name '*.pyi' -delete
# -s takes the build's place off the names in tracebacks
"$stage$home/bin/python3" -m compileall -q -s "$stage" "$stage$home/lib"
"$stage$home/bin/python3" -c 'import lvskeeper.daemon.director, lvskeeper.daemon.router'

put() { install -D -m "$1" "$2" "$stage$3"; }
mkdir -p "$stage/usr/bin"
ln -s ../lib/lvskeeper/bin/lvskeeper "$stage/usr/bin/lvskeeper"
put 640 packaging/lvskeeper.conf /etc/lvskeeper/lvskeeper.conf
put 644 packaging/systemd/lvskeeper.default /etc/default/lvskeeper
put 644 packaging/systemd/lvskeeper.logrotate /etc/logrotate.d/lvskeeper
put 644 packaging/systemd/lvskeeper.service /usr/lib/systemd/system/lvskeeper.service
put 644 packaging/systemd/lvskeeper.sysusers /usr/lib/sysusers.d/lvskeeper.conf
put 644 packaging/systemd/lvskeeper.tmpfiles /usr/lib/tmpfiles.d/lvskeeper.conf
put 644 packaging/systemd/lvskeeper.modules /usr/lib/modules-load.d/lvskeeper.conf
put 644 packaging/completion/lvskeeper.bash /usr/share/bash-completion/completions/lvskeeper
put 644 packaging/completion/_lvskeeper "$zsh/_lvskeeper"
put 644 packaging/completion/lvskeeper.fish /usr/share/fish/vendor_completions.d/lvskeeper.fish
for page in packaging/man/*.[58]; do
    put 644 "$page" "/usr/share/man/man${page##*.}/$(basename "$page")"
    gzip -9n "$stage/usr/share/man/man${page##*.}/$(basename "$page")"
done
put 644 LICENSE /usr/share/doc/lvskeeper/copyright
put 644 README.md /usr/share/doc/lvskeeper/README.md
for file in docs/*.md docs/*.json packaging/monitoring/*; do
    put 644 "$file" "/usr/share/doc/lvskeeper/$(basename "$file")"
done
find conf -type f | while read -r file; do
    put 644 "$file" "/usr/share/doc/lvskeeper/examples/${file#conf/}"
done
