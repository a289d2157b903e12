"""Run ``python -m lvskeeper`` like the ``lvskeeper`` command."""

from lvskeeper.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
