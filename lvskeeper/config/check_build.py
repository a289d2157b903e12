"""From the tree to the model: the checks of a real server."""

from typing import TYPE_CHECKING

from lvskeeper.config.codes import Code
from lvskeeper.config.tree import Directive
from lvskeeper.health.pcre import PcreError, compiled

if TYPE_CHECKING:
    from lvskeeper.config.build import Builder


def read_check(builder: "Builder", directive: Directive, kind: str) -> dict[str, object] | None:
    """Read the block of a check; what is wrong with it goes to *builder*.

    Return nothing where so much of it is missing that no model can be made.
    """
    before = builder.errors
    values: dict[str, object] = {}
    blocks = [child for child, _ in builder.block(kind, directive.children or (), values)]
    values["kind"] = kind
    match kind:
        case "HTTP_GET" | "SSL_GET":
            values["urls"] = tuple(
                url for child in blocks if (url := _url(builder, child)) is not None
            )
            return _http(builder, directive, values, bad=builder.errors > before)
        case "SMTP_CHECK":
            values["hosts"] = tuple(_host(builder, child) for child in blocks)
        case "UDP_CHECK" if builder.errors == before:
            _udp(builder, directive, values)
        case "MISC_CHECK" if "misc_path" not in values:
            if builder.errors == before:
                _missing(builder, directive, "MISC_CHECK needs a command", "misc_path /path/script")
            return None
        case "FILE_CHECK" if "track_file" not in values:
            if builder.errors == before:
                message = "FILE_CHECK needs the name of a file"
                _missing(builder, directive, message, "track_file NAME")
            return None
        case _:
            pass
    return values


def _http(
    builder: "Builder", directive: Directive, values: dict[str, object], *, bad: bool
) -> dict[str, object] | None:
    if values["urls"]:
        if not bad:
            _tls(builder, directive, values)
        return values
    if not bad:
        kind = values["kind"]
        _missing(builder, directive, f"{kind} needs at least one url", "url { path / }")
    return None


def _host(builder: "Builder", directive: Directive) -> dict[str, object]:
    values: dict[str, object] = {}
    builder.block("host", directive.children or (), values)
    return values


def _missing(builder: "Builder", directive: Directive, message: str, what: str) -> None:
    builder.error(Code.REQUIRED, directive, 0, message, f"add: {what}")


def _place(directive: Directive, name: str) -> Directive:
    """Return the directive *name* in a block, or the block itself."""
    given = (child for child in directive.children or () if child.words[0] == name)
    return next(given, directive)


def _url(builder: "Builder", directive: Directive) -> dict[str, object] | None:
    values: dict[str, object] = {}
    before = builder.errors
    builder.block("url", directive.children or (), values)
    if builder.errors > before:
        return values if "path" in values else None
    if "path" not in values:
        _missing(builder, directive, "a url needs a path", "path /")
        return None
    _regex(builder, directive, values)
    return values


def _regex(builder: "Builder", directive: Directive, values: dict[str, object]) -> None:
    pattern, options = values.get("regex"), values.get("regex_options", ())
    if pattern is None:
        for name in values:
            if name.startswith("regex_"):
                message = f"{name} has no effect without regex"
                builder.warn(Code.NO_EFFECT, _place(directive, name), 0, message)
        return
    assert isinstance(pattern, str)
    assert isinstance(options, tuple)
    try:
        compiled(pattern, options)
    except PcreError as bad:
        hint = r"a backslash is written twice: \\d" if "\\" not in pattern else ""
        message = f"regex: {bad}"
        builder.error(Code.BAD_VALUE, _place(directive, "regex"), 1, message, hint)
        del values["regex"]
    first, last = values.get("regex_min_offset", 0), values.get("regex_max_offset")
    if isinstance(first, int) and isinstance(last, int) and first > last:
        at = _place(directive, "regex_max_offset")
        message = f"regex_max_offset {last} is below regex_min_offset {first}"
        builder.error(Code.BAD_VALUE, at, 1, message, "a match could start nowhere")


def _tls(builder: "Builder", directive: Directive, values: dict[str, object]) -> None:
    for name, needed in (("ca", "verify"), ("key", "certificate")):
        if values.get(name) and not values.get(needed):
            message = f"{name} has no effect without {needed}"
            builder.warn(Code.NO_EFFECT, _place(directive, name), 0, message, f"add: {needed}")


def _udp(builder: "Builder", directive: Directive, values: dict[str, object]) -> None:
    least, most = values.get("min_reply_length", 0), values.get("max_reply_length")
    for name in ("min_reply_length", "max_reply_length"):
        if name in values and "require_reply" not in values:
            message = f"{name} has no effect without require_reply"
            at = _place(directive, name)
            builder.warn(Code.NO_EFFECT, at, 0, message, "add: require_reply")
    wanted = values.get("require_reply", "")
    if isinstance(wanted, str) and isinstance(least, int):
        least = max(least, len(wanted) // 2)
        if isinstance(most, int) and least > most:
            message = f"no answer can have at least {least} and at most {most} bytes"
            builder.error(Code.BAD_VALUE, _place(directive, "max_reply_length"), 1, message)
