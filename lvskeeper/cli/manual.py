"""The manual pages: lvskeeper(8) of the command line, lvskeeper.conf(5) of the keyword table."""

import re
import textwrap
from collections.abc import Iterator
from typing import Final

from lvskeeper.cli.arguments import Argument, Command, Takes

DATE: Final = "2026-11-27"
"""Day of the pages' last change of form; what they say follows the program."""

_WIDTH: Final = 76
_SPECIAL: Final = {"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "'": "\\(aq", "`": "\\(ga"}
_LINK: Final = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_STRESS: Final = re.compile(r"(?<!\w)\*(?=\w)([^*\x01\x02]+)\*(?!\w)")
_CODE: Final = re.compile(r"`([^`]+)`")
_STATUS: Final = re.compile(r"  (\d+) +(.*)")

_SEE_ALSO: Final = (
    "conntrackd(8)", "ip(8)", "ipvsadm(8)", "lvskeeper(8)", "lvskeeper.conf(5)", "nft(8)",
)  # fmt: skip


def command_page(root: Command) -> str:
    """Return lvskeeper(8)."""
    lines = [*_head("LVSKEEPER", 8, "lvskeeper", root.description)]
    lines += [".SH SYNOPSIS"]
    for index, one in enumerate(one for one in root.walk() if one.path and not one.commands):
        lines += [".br"] if index else []
        lines.append(_synopsis(one))
    lines += [
        ".SH DESCRIPTION",
        *_text(
            "`lvskeeper run` is the daemon: it checks real servers, keeps the kernel's IPVS tables "
            "and its own rules as the configuration and the checks say, and moves virtual "
            "addresses between directors by VRRP. The other commands read configurations, or ask "
            "a daemon. The configuration is described in lvskeeper.conf(5)."
        ),
        ".SH OPTIONS",
    ]
    for option in root.options:
        lines += _option(option)
    lines.append(".SH COMMANDS")
    for one in root.walk():
        if one.path:
            lines += _command(one)
    lines += [".SH EXIT STATUS", *_statuses(root.epilog)]
    lines += [
        ".SH FILES",
        ".TP", ".I /etc/lvskeeper/lvskeeper.conf", "The configuration, where no other is named.",
        ".TP", ".I /run/lvskeeper", "The runtime directory, where no other is named.",
        *_foot("lvskeeper(8)"),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def file_page() -> str:
    """Return lvskeeper.conf(5)."""
    from lvskeeper.config.keyword import Keyword, Status  # noqa: PLC0415 - the keyword table
    from lvskeeper.config.keywords import BLOCKS  # noqa: PLC0415 - see above
    from lvskeeper.config.reference import render  # noqa: PLC0415 - see above

    def keyword(one: Keyword) -> Iterator[str]:
        yield ".TP"
        brace = " { }" if one.block else ""
        args = f" {one.args}" if one.args else ""
        yield f"\\fB{_plain(one.name)}\\fR{_plain(args + brace)}"
        told = [one.doc]
        if one.default:
            told.append(f"Default: {one.default}.")
        if one.status is not Status.SERVED:
            what = "Refused" if one.status is Status.REFUSED else "Passed over with a warning"
            told.append(f"{what}: {one.reason}." if one.reason else f"{what}.")
        yield from _text(" ".join(filter(None, told)))

    page = render()
    prose, _, rest = page.partition("\n## Keywords\n")
    intro = rest.partition("\n### ")[0]
    lines = [
        *_head("LVSKEEPER.CONF", 5, "lvskeeper.conf", "configuration of lvskeeper"),
        ".SH DESCRIPTION",
        *_markdown(prose.partition("\n")[2]),
        ".SH KEYWORDS",
        *_markdown(intro),
    ]
    for block, table in BLOCKS.items():
        lines.append(f".SS {_plain(block or 'Top level')}")
        for one in table.values():
            lines += keyword(one)
    lines += [
        ".SH FILES",
        ".TP", ".I /etc/lvskeeper/lvskeeper.conf", "Read by the daemon, where it is told no other.",
        *_foot("lvskeeper.conf(5)"),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _head(title: str, section: int, name: str, summary: str) -> Iterator[str]:
    yield '.\\" Made by: python -m lvskeeper.cli.generated'
    yield f".TH {title} {section} {DATE} lvskeeper"
    yield ".SH NAME"
    yield f"{_plain(name)} \\- {_plain(summary.rstrip('.'))}"


def _foot(own: str) -> Iterator[str]:
    yield ".SH SEE ALSO"
    others = [one for one in _SEE_ALSO if one != own]
    for index, one in enumerate(others):
        name, _, section = one.rstrip(")").partition("(")
        yield f".BR {_plain(name)} ({section}){',' if index < len(others) - 1 else ''}"


def _synopsis(one: Command) -> str:
    parts = [f"\\fBlvskeeper {' '.join(one.path)}\\fR"]
    if one.options:
        parts.append("[\\fIOPTIONS\\fR]")
    for argument in one.positionals:
        shown = f"\\fI{_plain(_value(argument))}\\fR{' ...' if argument.many else ''}"
        parts.append(shown if argument.needed else f"[{shown}]")
    return " ".join(parts)


def _command(one: Command) -> Iterator[str]:
    yield f".SS {' '.join(one.path)}"
    yield from _text(one.description)
    for argument in one.arguments:
        if argument.flags != ("-h", "--help"):
            yield from _option(argument)
    if one.epilog:
        yield ".PP"
        yield from _text(one.epilog)


def _option(one: Argument) -> Iterator[str]:
    yield ".TP"
    value = _plain(_value(one))
    if not one.flags:
        yield f"\\fI{value}\\fR{' ...' if one.many else ''}"
    else:
        names = ", ".join(f"\\fB{_plain(flag)}\\fR" for flag in one.flags)
        yield names if one.takes is Takes.NOTHING else f"{names} \\fI{value}\\fR"
    yield from _text(one.help or "See above.")


def _value(one: Argument) -> str:
    return one.metavar or "|".join(one.words)


def _statuses(epilog: str) -> Iterator[str]:
    for line in epilog.splitlines():
        match = _STATUS.fullmatch(line)
        if match is not None:
            yield ".TP"
            yield match[1]
            yield from _text(match[2])
        elif line.startswith("   "):
            yield from _text(line.strip())


def _plain(text: str) -> str:
    """Return *text* with nothing in it that roff takes for a request or another character."""
    return "".join(_SPECIAL.get(char, char) for char in text)


def _text(text: str) -> Iterator[str]:
    """Yield the lines of a paragraph; what is in backticks is bold."""
    marked = _CODE.sub("\x01\\1\x02", _LINK.sub(r"\1", text))
    made = _plain(_STRESS.sub("\x03\\1\x02", marked))
    for mark, font in (("\x01", "\\fB"), ("\x02", "\\fR"), ("\x03", "\\fI")):
        made = made.replace(mark, font)
    for line in textwrap.wrap(made, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"\\&{line}" if line.startswith(".") else line


def _markdown(page: str) -> Iterator[str]:
    """Yield the lines for headings, paragraphs and lists."""
    first = True
    for part in re.split(r"\n\s*\n|\n(?=- )", page.strip()):
        one, after_heading = part.strip(), first
        first = one.startswith("#")
        if one.startswith("#"):
            level, _, title = one.partition(" ")
            yield f".{'SH' if len(level) == 2 else 'SS'} {_plain(title.upper())}"
        elif one.startswith("- "):
            yield ".IP \\(bu 2"
            yield from _text(" ".join(one[2:].split()))
        elif one:
            yield from () if after_heading else (".PP",)
            yield from _text(" ".join(one.split()))
