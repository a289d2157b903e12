"""``lvskeeper replay``: show a recording, and let the VRRP machines live through it again."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lvskeeper.errors import ExitStatus, OperatorError

if TYPE_CHECKING:
    from lvskeeper.observe.flight import Flight
    from lvskeeper.vrrp.replay import Step
    from lvskeeper.vrrp.tape import Segment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``replay``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what `lvskeeper dump` wrote")
    parser.add_argument(
        "--inputs", action="store_true", help="show all that the machines were told, one a line"
    )
    parser.add_argument("--events", action="store_true", help="show the events of all roles")
    parser.add_argument("--probes", action="store_true", help="show the probes")
    parser.epilog = (
        "Each transition is shown with its time and cause. Exit status: 0 the machines did the "
        "same again, 1 they did not (another version, usually), 2 the file is none."
    )


def run(args: argparse.Namespace) -> int:
    """Show the recording; return the exit status."""
    from lvskeeper.observe.flight import read_flight  # noqa: PLC0415 - msgspec

    try:
        flight = read_flight(args.file)
    except (OSError, ValueError, EOFError) as error:
        raise OperatorError(
            f"{args.file}: {getattr(error, 'strerror', None) or error}", status=ExitStatus.CONFIG
        ) from error
    print(f"recorded {_stamp(flight.time)} by lvskeeper {flight.version}: {flight.reason}")
    for problem in flight.problems:
        print(f"missing: {problem}")
    if args.events:
        _print_events(flight)
    if args.probes:
        _print_probes(flight)
    alike = [
        _replay(flight, segment, inputs=args.inputs)
        for segment in (flight.router.segments if flight.router else ())
    ]
    return ExitStatus.OK if all(alike) else ExitStatus.ATTENTION


def _replay(flight: "Flight", segment: "Segment", *, inputs: bool) -> bool:
    from lvskeeper.vrrp.replay import differences, replay  # noqa: PLC0415 - with the segments

    steps = replay(segment)
    names = {one.spec.key: one.spec.name for one in segment.start.instances}
    print(f"from {_stamp(flight.moment(segment.start.at))}: {len(steps)} inputs of VRRP")
    for step in steps:
        if inputs:
            print(f"  {_stamp(flight.moment(step.at))} {_input(step)}")
        for change in step.changes:
            name = names.get(change.key, str(change.key))
            what = f"{name} {change.old.value} to {change.new.value}: {change.cause.value}"
            print(f"  {_stamp(flight.moment(step.at))} {what}")
    told = differences(segment, steps)
    for text in told:
        print(f"  DIFFERENT: {text}")
    if not told:
        print(f"  the machines did the same again ({len(segment.changes)} transitions)")
    return not told


def _input(step: "Step") -> str:
    from lvskeeper.units import format_address  # noqa: PLC0415 - with the segments

    it = step.input
    if it.advert is not None:
        return (
            f"{it.key}: advert of {format_address(it.source)}, priority {it.advert.priority}, "
            f"every {it.advert.interval:g} s"
        )
    if it.track is not None and it.status is not None:
        return f"{it.track} is {'well' if it.status.well else 'not well'}"
    what = it.event or it.kind.value
    return f"{it.key or 'all'}: {what}{f' ({it.fault})' if it.fault else ''}"


def _print_events(flight: "Flight") -> None:
    for entry in flight.events:
        fields = json.loads(bytes(entry.fields))
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        print(f"{_stamp(entry.time)} {entry.level} {entry.role} {entry.event} {told}")


def _print_probes(flight: "Flight") -> None:
    director = flight.director
    if director is None:
        return
    latest = {(probe.at, probe.check): probe for probe in (*director.bad, *director.latest)}
    for probe in sorted(latest.values(), key=lambda one: one.at):
        end = probe.detail or "ok"
        print(
            f"{_stamp(flight.moment(probe.at))} {probe.check} {'good' if probe.ok else 'BAD'} "
            f"{probe.phase}: {end} ({probe.took * 1000:.1f} ms)"
        )


def _stamp(moment: float) -> str:
    whole, part = divmod(moment, 1)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(whole))}.{int(part * 1000):03}"
