"""Commands of lvskeeper, run in this process: the same as in another one, without its start."""

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

from lvskeeper.cli.main import main


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


def command(*arguments: object) -> Done:
    """Run a command that ends; return how."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Done(int(status), out.getvalue(), err.getvalue())
