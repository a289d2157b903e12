"""``lvskeeper check FILE``: is this configuration good, and if not, where is it not."""

import argparse
import gc
import sys
from typing import TYPE_CHECKING

from lvskeeper.units import format_count

if TYPE_CHECKING:
    from lvskeeper.config.load import Loaded
    from lvskeeper.config.model import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="keepalived.conf form, or .yaml, .yml")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 where there are warnings"
    )
    parser.add_argument(
        "--allow-empty", action="store_true", help="take a file that serves nothing, as run does"
    )
    add_reading(parser)
    parser.add_argument(
        "--elsewhere", action="store_true",
        help="the file is for another machine: do not look here for its interfaces and scripts",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("text", "json", "github"), default="text",
        help="form of the output; github: workflow commands, which show each finding at its line",
    )  # fmt: skip


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say how a file is read; run and plan have them, too."""
    parser.add_argument(
        "-i", "--config-id", metavar="ID",
        help="read the lines that begin with @ID, and not those with another name; without this "
        "the node's name up to its first dot",
    )  # fmt: skip
    parser.add_argument(
        "--off", action="append", default=[], type=_code, metavar="CODE",
        help="do not tell the warnings with this code, as LK0324; may be given again and again",
    )  # fmt: skip

    parser.add_argument(
        "--compat", choices=("keepalived",),
        help="warn of what keepalived merely logs, in place of refusing the file, and go on "
        "without it, as keepalived does",
    )  # fmt: skip


def _code(text: str) -> str:
    from lvskeeper.config.codes import find_code, suggest_codes  # noqa: PLC0415 - seldom needed

    code = find_code(text)
    if code is None:
        raise argparse.ArgumentTypeError(f"no code '{text}' {suggest_codes(text)}".rstrip())
    return code.number


def run(args: argparse.Namespace) -> int:
    """Check the file and print what was found; return the exit status (0, 1 or 2)."""
    # Nothing here lives long enough to be collected, and imports alone set it off many times.
    gc.disable()
    try:
        return _check(args)
    finally:
        gc.enable()


def _check(args: argparse.Namespace) -> int:
    # Imported late: pydantic alone costs as much as all the rest of a command.
    from lvskeeper.config.load import load  # noqa: PLC0415 - see above
    from lvskeeper.daemon.local_host import LocalHost  # noqa: PLC0415 - see above
    from lvskeeper.errors import ExitStatus  # noqa: PLC0415 - see above
    from lvskeeper.kernel.files import LocalFiles, local_surroundings  # noqa: PLC0415 - see above

    around = local_surroundings(args.config_id)
    loaded = load(
        args.file, LocalFiles(), around, allow_empty=args.allow_empty, off=args.off,
        compat=bool(args.compat), host=None if args.elsewhere else LocalHost(),
    )  # fmt: skip
    gc.freeze()  # or the interpreter walks the whole model once more on its way out
    if args.format == "json":
        _print_json(loaded)
    else:
        _print_text(args.file, loaded, github=args.format == "github")
    if loaded.config is None:
        return ExitStatus.CONFIG
    if args.strict and loaded.warnings:
        return ExitStatus.ATTENTION
    return ExitStatus.OK


def _print_json(loaded: "Loaded") -> None:
    import json  # noqa: PLC0415 - needed here only

    from lvskeeper.config.diagnostics import as_json  # noqa: PLC0415 - see run()

    document = {
        "ok": loaded.config is not None,
        "errors": len(loaded.errors),
        "warnings": len(loaded.warnings),
        "switched_off": loaded.switched_off,
        "relaxable": loaded.relaxable,
        "counts": _counts(loaded.config) if loaded.config else None,
        "notes": _notes(loaded.config) if loaded.config else [],
        "diagnostics": [as_json(one) for one in loaded.diagnostics],
    }
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _print_text(path: str, loaded: "Loaded", *, github: bool) -> None:
    from lvskeeper.config.compat import HINT  # noqa: PLC0415 - see run()
    from lvskeeper.config.diagnostics import render_github, render_text  # noqa: PLC0415 - see run()

    render = render_github if github else render_text
    out = [render(one) for one in loaded.diagnostics]
    warnings = format_count(len(loaded.warnings), "warning")
    if loaded.switched_off:
        warnings += f", {loaded.switched_off} switched off"
    if loaded.config is None:
        if loaded.relaxable:
            out.append(f"{path}: note: {HINT}")
        out.append(f"{path}: refused: {format_count(len(loaded.errors), 'error')}, {warnings}")
    else:
        out += [f"{path}: note: {note}" for note in _notes(loaded.config)]
        counts = _counts(loaded.config)
        parts = [
            format_count(count, name.removesuffix("s").replace("_", " ").replace("vrrp", "VRRP"))
            for name, count in counts.items()
            if count or name != "vrrp_instances"
        ]
        out.append(f"{path}: ok: {', '.join(parts)}, {warnings}")
    # A terminal that cannot show a character of the file gets an escape in its place.
    encoding = sys.stdout.encoding or "utf-8"
    print("\n".join(out).encode(encoding, "backslashreplace").decode(encoding))


def _counts(config: "Config") -> dict[str, int]:
    servers = [one for server in config.virtual_servers for one in server.real_servers]
    return {
        "virtual_servers": len(config.virtual_servers),
        "real_servers": len(servers),
        "checks": sum(len(one.checks) for one in servers),
        "vrrp_instances": len(config.vrrp.instances) if config.vrrp else 0,
    }


def _notes(config: "Config") -> list[str]:
    """Return what the pools in use can carry."""
    if not config.local_address_groups:
        return []
    from lvskeeper.daemon.compile import compile_director  # noqa: PLC0415 - seldom needed
    from lvskeeper.daemon.rooms import rooms_of  # noqa: PLC0415 - seldom needed

    return [str(room) for room in rooms_of(compile_director(config))]
