"""Where lvskeeper reads the language otherwise than keepalived, on purpose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from support.verdicts import rows as value_rows


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """A file that keepalived and lvskeeper judge, and why not alike where they do not."""

    title: str
    text: str
    theirs: bool
    """Whether ``keepalived -t`` has no complaint."""
    ours: bool
    """Whether ``lvskeeper check`` takes the file."""
    said: str
    """What keepalived does."""
    reason: str
    """What lvskeeper does in its place, and why."""
    others: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    """keepalived never ends."""


_SERVER: Final = """\
virtual_server 192.0.2.1 80 {
lb_algo rr
lb_kind NAT
protocol TCP
real_server 192.0.2.9 80 { weight 1 }
%s}
"""

DIFFERENCES: Final = (
    Difference(
        "a file that is named and missing", "include none\n", theirs=True, ours=False,
        said="says so and goes on",
        reason="an error: a reload without the file would take services away; `includer` takes it",
    ),
    Difference(
        "an executable file", "include x.sh\n", theirs=True, ours=False,
        said="skips the file", others={"x.sh": "# nothing\n"},
        reason="an error for every form of `include`: what is skipped is missing",
    ),
    Difference(
        "a folder in place of a file", "include .\n", theirs=True, ours=False,
        said="skips it", reason="an error, for the same reason",
    ),
    Difference(
        "a definition that stands for itself", "$A=$A\n$A\n", theirs=False, ours=False, hangs=True,
        said="replaces it for ever, also at a reload",
        reason="an error that names the loop",
    ),
    Difference(
        "a definition of several lines under a condition that does not hold",
        f"@other $A=x \\\ny \\\nz\n{_SERVER % ''}", theirs=False, ours=True,
        said="leaves out the first line and reads the others as keywords",
        reason="the whole definition is left out",
    ),
    Difference(
        "`${_ENV NAME}`", "global_defs {\nrouter_id x${_ENV PATH}\n}\n", theirs=False, ours=True,
        said="2.2.7 does not know it, and takes its braces for a block; later ones know it",
        reason="known; a variable that is not set is an error",
    ),
    Difference(
        "a condition with nothing behind it",
        "@PEER1\n" + _SERVER % "",
        theirs=True, ours=True,
        said="leaves the line out in silence, also where a template's placeholder was meant",
        reason="the same, with a warning",
    ),
    Difference(
        "a longer line than 1023 characters",
        f"# {'x' * 2000}\n" + _SERVER % "", theirs=False, ours=True,
        said="drops the first 1023, and reads the rest as a new line: of a comment, too",
        reason="lines may have 65,536 characters",
    ),
    Difference(
        "a block with an unknown name",
        _SERVER % "frobnicate {\nx\n}\nalpha\n", theirs=False, ours=False,
        said="takes its `}` for that of the block around it, and tears that apart",
        reason="one error for the name; its block is skipped whole",
    ),
    Difference(
        "a name that is not defined, in braces",
        _SERVER % "virtualhost ${HOST}\n", theirs=False, ours=False,
        said="takes its braces for those of a block",
        reason="one error that names it",
    ),
    Difference(
        "a name that is not defined, without braces",
        _SERVER % "virtualhost $HOST\n", theirs=True, ours=False,
        said="takes it literally",
        reason="an error where it is a whole word; a `$` within a word is a character",
    ),
)  # fmt: skip

_INTRO: Final = """\
# The language: differences from keepalived

`lvskeeper check` reads definitions, conditional lines, sequences, includes, quotes and comments as
keepalived does. The tests write files by chance and compare the words that both read in them
(`tests/config/test_oracle.py`, with Debian's keepalived 2.2.7). What differs on purpose is here; a
test runs both on each example. `LVSKEEPER_GOLDEN=write` renews this page.

| What | keepalived | lvskeeper |
| --- | --- | --- |
"""
_REST: Final = """
Two faults of 2.2.7 are not imitated either. Its child processes read `\\#` and `\\!` as the start
of a comment, and all of it `${_HASH}` and `${_BANG}`: here they are the characters. After a `~LST`
that it refuses, it reads the lines of the next one late.
"""

_VALUES: Final = """
## Values

The tests also give both programs every keyword with good and with bad values
(`tests/config/test_oracle_keywords.py`, all of them with `LVSKEEPER_ORACLE=all`), and compare
whether each complains. `--compat keepalived` turns our errors into warnings.

| What | keepalived | lvskeeper |
| --- | --- | --- |
"""


def page() -> str:
    """Return docs/keepalived-language.md."""
    rows = [f"| {one.title} | {one.said} | {one.reason} |" for one in DIFFERENCES]
    return _INTRO + "\n".join(rows) + "\n" + _REST + _VALUES + "\n".join(value_rows()) + "\n"
