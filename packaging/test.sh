#!/bin/bash
# The test layers, and what became of each: lint, the host's tests, and those that need ip_vs on the
# oldest kernel that is here. `test.sh kernels` runs all of these that need ip_vs, those marked `long`
# included, on that kernel and on the newest one that Debian offers, and the host's long ones before:
# they boot VMs, which delays whatever is timed beside them. That is for a night.
# A layer that cannot run is counted as skipped, with its reason.
set -uo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
pytest=("$python" -m pytest -p no:cacheprovider)
# Half of them for tests that wait for timers, half for those that compute (tests/conftest.py)
workers=4
vm_limit=2400 # seconds for the tests in the VM, on an emulated machine beside others
marks="ipvs and not long"
all_kernels=${1:+yes}
if [ -n "$all_kernels" ]; then
    vm_limit=7200
    marks=ipvs
fi
summary=()
failed=0
skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# layer NAME WHERE COMMAND...: runs it and notes how it ended, with the last line that it wrote
layer() {
    local name=$1 place=$2 started=$SECONDS status
    shift 2
    echo
    echo "== $name on $place: $*"
    "$@" 2>&1 | tee "$work/last"
    status=${PIPESTATUS[0]}
    local word=ok
    if [ "$status" != 0 ]; then
        word="FAILED ($status)"
        failed=$((failed + 1))
    fi
    summary+=("$(printf '%-6s %-10s %4d s  %s, on %s' "$name" "$word" $((SECONDS - started)) \
        "$(tail -n 1 "$work/last" | tr -d '=')" "$place")")
}

skip() {
    skipped=$((skipped + 1))
    summary+=("$(printf '%-6s %-10s         %s' "$1" skipped "$2")")
}

# in_lab KERNEL-OPTION... -- FILE...: the tests of these files that need ip_vs
in_lab() {
    local options=()
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    "$python" -m lvskeeper.lab run "${options[@]}" --timeout $vm_limit -- \
        "${pytest[@]}" -m "$marks" -o timeout=300 "$@"
}

# Only the files that have such tests: importing all the others takes a minute in emulation
ipvs_files() {
    local files
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.ipvs' "$@" | sort)
    if [ "$marks" = ipvs ]; then
        printf '%s\n' "${files[@]}"
    else
        # Whole files that are long say so in their pytestmark
        grep -L 'mark\.long,' "${files[@]}"
    fi
}

if [ -n "$all_kernels" ]; then
    packaging/kernel.sh 2>&1 | tee "$work/kernel"
    layer long "this machine" "${pytest[@]}" -m "long and not ipvs"
else
    layer lint "this machine" packaging/lint.sh
    layer host "this machine" "${pytest[@]}" -m "not ipvs and not long" \
        --numprocesses $workers --no-loadscope-reorder
    [ "$(id -u)" = 0 ] || skip root "not root: its tests are among the skipped ones of layer host"
fi

mapfile -t files < <(ipvs_files tests)
here=()
if where=$("$python" -m lvskeeper.lab where 2>&1); then
    # Where this very kernel has ip_vs, it is the one to test
    case $where in
        "a VM"*) here=(--kernel "${LVSKEEPER_KERNEL:-oldest}") ;;
    esac
    where=$("$python" -m lvskeeper.lab where "${here[@]}")
    layer ipvs "$where" in_lab "${here[@]}" -- "${files[@]}"
else
    skip ipvs "${where//$'\n'/; }"
fi

if [ -z "$all_kernels" ]; then
    : # One kernel will do
elif ! newest=$("$python" -m lvskeeper.lab where --kernel newest 2>&1); then
    skip newest "${newest//$'\n'/; }"
elif [ "$newest" = "$where" ]; then
    skip newest "no newer kernel than that of layer ipvs; $(tail -n 1 "$work/kernel")"
else
    layer newest "$newest" in_lab --kernel newest -- "${files[@]}"
fi

echo
echo "== summary: ${#summary[@]} layers, $failed failed, $skipped skipped"
printf '%s\n' "${summary[@]}"
[ "$failed" = 0 ]
