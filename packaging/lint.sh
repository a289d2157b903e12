#!/bin/bash
# All static checks; every one of them runs, also after one has failed.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
.venv/bin/ruff check --quiet || status=1
.venv/bin/ruff format --check --quiet || status=1
.venv/bin/mypy --no-error-summary || status=1
contracts=$(.venv/bin/lint-imports --no-cache 2>&1) || {
    status=1
    echo "$contracts"
}
[ $status = 0 ] && echo "ruff, ruff format, mypy and lint-imports found nothing"
exit $status
