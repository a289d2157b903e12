"""The same target for atheris, which looks at what code an input reaches.

``pip install atheris``, then ``PYTHONPATH=tests python -m fuzz.guided FOLDER [-runs=N]``; the
options are those of libFuzzer. FOLDER gets what it begins with, and what it finds. It is some ten
times slower than ``python -m fuzz``, and finds what chance does not.
"""

import importlib
import sys
from pathlib import Path

BOUNDS = ("-timeout=60", "-rss_limit_mb=1024", "-max_len=512", "-print_final_stats=1")


def main() -> None:
    """Run until it is interrupted, or an input fails."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["lvskeeper"]):
        seeds = importlib.import_module("fuzz.seeds").seeds()
        judge = importlib.import_module("fuzz.target").judge
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(seeds):
        (folder / f"seed-{number:03}").write_text(text, errors="replace")
    atheris.Setup(
        [sys.argv[0], str(folder), *BOUNDS, *sys.argv[2:]],
        lambda data: judge(data.decode("utf-8", "replace")) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
