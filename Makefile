# The two commands of a newcomer are `make demo` and `make test`. Each makes the machine ready first
# (packaging/bootstrap.sh), which is quick where nothing is missing.

SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
PYTHON := .venv/bin/python

.PHONY: help demo test kernels lint bench boots schedules fuzz package package-test ready-demo ready-test ready-package clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ready-demo ## watch a director, then a pair: failures, repairs, fail-overs (8 minutes in a VM)
	@$(SUDO) .venv/bin/lvskeeper demo

test: ready-test ## lint, the tests of the host, and those on a kernel with ip_vs
	@packaging/test.sh

kernels: ready-test ## all tests that need ip_vs, on the oldest and the newest Debian kernel (an hour)
	@packaging/test.sh kernels

lint: ready-test ## ruff, mypy, import-linter
	@packaging/lint.sh

bench: ready-test ## comparisons with ipvsadm and keepalived
	@PYTHONPATH=tests $(PYTHON) -m bench

boots: ready-test ## boot the laboratory's VM 20 times and check each
	@$(PYTHON) tests/lab/boots.py 20

schedules: ready-test ## 200,000 schedules of the VRRP simulator, for a night (half an hour)
	@LVSKEEPER_SCHEDULES=40000 $(PYTHON) -m pytest -p no:cacheprovider -o timeout=0 tests/sim

fuzz: ready-test ## a million inputs for the configuration language (half an hour)
	@PYTHONPATH=tests $(PYTHON) -m fuzz

package: ready-demo ## build the wheel and the Debian package into dist/
	@packaging/deb.sh

package-test: ready-package ## install .deb and rpm in clean machines, upgrade, remove; run the image (10 minutes)
	@$(SUDO) $(PYTHON) -m pytest -p no:cacheprovider tests/package/*_test.py

ready-demo:
	@packaging/bootstrap.sh demo

ready-test:
	@packaging/bootstrap.sh test

ready-package:
	@packaging/bootstrap.sh package

clean: ## remove what was made here: .venv, caches
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +
