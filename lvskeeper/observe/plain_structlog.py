"""structlog without rich.

It takes rich where it finds it, with pygments and attrs, to draw tracebacks; no event of ours has
one, and they are a quarter of what a daemon imports.
"""

import sys

RICH = "rich"

if RICH in sys.modules:
    import structlog
else:
    sys.modules[RICH] = None  # type: ignore[assignment] # an import raises ImportError then
    try:
        import structlog
    finally:
        del sys.modules[RICH]

__all__ = ["structlog"]
