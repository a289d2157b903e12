"""The stage of the demonstration: tells the steps as they happen, and keeps the score."""

import time
from dataclasses import dataclass
from typing import final

from lvskeeper.lab.daemon import Told
from lvskeeper.lab.longlived import LongLived
from lvskeeper.lab.traffic import Counts


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What became of one step."""

    title: str
    held: bool
    counts: Counts
    explained: int
    """Failed requests that the step itself explains, such as those to a server just killed."""


@final
class Stage:
    """Tells the steps as they happen, and keeps the score."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.steps: list[Step] = []
        self._title = ""

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        print(f"[{time.monotonic() - self.started:6.1f} s] {text}", flush=True)

    def open(self, title: str, why: str) -> None:
        """Begin a step."""
        self._title = title
        print(flush=True)
        self.say(f"{len(self.steps) + 1}. {title}")
        print(f"           {why}", flush=True)

    def close(self, *, held: bool, counts: Counts | None = None, explained: int = 0) -> None:
        """End the step with its verdict."""
        self.steps.append(Step(self._title, held, counts or Counts(), explained))
        self.say("   held" if held else "   DID NOT HOLD")

    def quote(self, event: Told, *names: str) -> None:
        """Print an event of the log, with some of its fields."""
        pairs = "  ".join(
            f"{name}={event.fields[name]!r}" for name in names if name in event.fields
        )
        self.say(f"   log: {event.name}  {pairs}")

    def summary(self, total: Counts, survivor: LongLived) -> bool:
        """Print the table; return whether the connection lived and every failure is explained."""
        print(f"\n{'step':44} {'sent':>6} {'failed':>7} {'explained':>10}   held")
        for step in self.steps:
            counts = step.counts
            print(
                f"{step.title:44} {counts.sent:6} {counts.failed:7} {step.explained:10}"
                f"   {'yes' if step.held else 'NO'}"
            )
        explained = sum(step.explained for step in self.steps)
        lived = "alive" if survivor.alive else f"lost: {survivor.error}"
        print(f"{'all requests':44} {total.sent:6} {total.failed:7} {explained:10}")
        print(
            f"one connection through all of it: {lived}, {survivor.answers} answers from"
            f" {survivor.server}, the slowest after {survivor.longest:.2f} s"
        )
        return survivor.alive and total.failed <= explained

    def ended(self, *, held: bool) -> bool:
        """Print the verdict on all steps, and what else *held*; return it."""
        held = held and all(step.held for step in self.steps)
        took = time.monotonic() - self.started
        print(f"\n{'all held' if held else 'NOT ALL HELD'} in {took:.0f} s", flush=True)
        return held
