"""Commands of scripts, cut into arguments without a shell."""

import re
from typing import Final

from lvskeeper.config.bad import BadValueError

_ESCAPES: Final = {
    "a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_PIECE: Final = re.compile(
    r"\\x(?P<hex>[0-9A-Fa-f]{2})|\\(?P<octal>[0-7]{3})|\\c(?P<control>[@-_a-z])"
    r"|\\(?P<escape>.)|(?P<quote>[\"'])|(?P<blank>\s+)|(?P<plain>[^\\\"'\s]+|\\)",
    re.DOTALL,
)


def split_command(command_line: str) -> tuple[str, ...]:
    r"""Split a command into its arguments as keepalived does; no shell is involved.

    Both quotes group, adjacent pieces join, and ``\n``, ``\t``, ``\xHH``, ``\NNN``, ``\cX`` and
    the like are escapes everywhere. Raises :class:`BadValueError`.
    """
    argv: list[str] = []
    piece: str | None = None
    quote = ""
    for match in _PIECE.finditer(command_line):
        match match.lastgroup:
            case "quote" if quote in {"", match[0]}:
                quote = "" if quote else match[0]
                piece = piece or ""
            case "blank" if not quote:
                if piece is not None:
                    argv.append(piece)
                piece = None
            case _:
                piece = (piece or "") + _literal(match)
    if quote:
        hint = "put double quotes around the whole command: \"/path/script 'an arg'\""
        raise BadValueError(1, f"a {quote} in the command is not closed", hint)
    if piece is not None:
        argv.append(piece)
    if any("\0" in word for word in argv):
        raise BadValueError(1, "a command cannot hold a NUL character")
    return tuple(argv)


def unescape(text: str) -> str:
    r"""Return *text* with the escapes of :func:`split_command` carried out, quotes left alone."""
    return "".join(map(_literal, _PIECE.finditer(text)))


def _literal(match: re.Match[str]) -> str:
    """Return the characters that a piece stands for."""
    match match.lastgroup:
        case "hex":
            return chr(int(match["hex"], 16))
        case "octal":
            return chr(int(match["octal"], 8) & 0xFF)
        case "control":
            return chr(ord(match["control"].upper()) ^ 0x40)
        case "escape":
            return _ESCAPES.get(match["escape"], match["escape"])
        case _:
            return match[0]
