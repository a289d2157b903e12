#!/bin/bash
# The test layers, one after the other, and what became of each: lint, the host's tests, and those
# that need ip_vs. A layer that cannot run is counted as skipped, with its reason.
set -uo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
pytest=("$python" -m pytest -p no:cacheprovider)
vm_limit=2400 # seconds for the tests in the VM, on an emulated machine beside others
summary=()
failed=0
skipped=0
last=$(mktemp)
trap 'rm -f "$last"' EXIT

# layer NAME COMMAND...: runs it and notes how it ended, with the last line that it wrote
layer() {
    local name=$1 started=$SECONDS status
    shift
    echo
    echo "== $name: $*"
    "$@" 2>&1 | tee "$last"
    status=${PIPESTATUS[0]}
    local word=ok
    if [ "$status" != 0 ]; then
        word="FAILED ($status)"
        failed=$((failed + 1))
    fi
    summary+=("$(printf '%-6s %-10s %4d s  %s' "$name" "$word" $((SECONDS - started)) \
        "$(tail -n 1 "$last" | tr -d '=')")")
}

skip() {
    skipped=$((skipped + 1))
    summary+=("$(printf '%-6s %-10s         %s' "$1" skipped "$2")")
}

layer lint packaging/lint.sh
layer host "${pytest[@]}" -m "not ipvs"
[ "$(id -u)" = 0 ] || skip root "not root: its tests are among the skipped ones of layer host"
if where=$("$python" -m lvskeeper.lab where 2>&1); then
    # Only the files that have such tests: importing all the others takes a minute in emulation
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.ipvs' tests | sort)
    layer ipvs "$python" -m lvskeeper.lab run --timeout $vm_limit -- \
        "${pytest[@]}" -m ipvs -o timeout=300 "${files[@]}"
else
    skip ipvs "${where//$'\n'/; }"
fi

echo
echo "== summary: ${#summary[@]} layers, $failed failed, $skipped skipped"
printf '%s\n' "${summary[@]}"
[ "$failed" = 0 ]
