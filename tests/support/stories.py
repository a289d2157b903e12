"""Stories that are told at the same time: they are bound by waiting, not by the processor."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

Story: TypeAlias = Callable[[Path], None]
"""It gets an empty folder and raises where something is not as it should be."""
Told: TypeAlias = dict[str, Future[None]]


def names(stories: Sequence[Story]) -> list[str]:
    """Return the names of *stories*, by which tests ask for them."""
    return [story.__name__ for story in stories]


def tell(
    stories: Sequence[Story],
    request: pytest.FixtureRequest,
    folders: pytest.TempPathFactory,
) -> Iterator[Told]:
    """Yield those of *stories* that are asked for, under way: the body of a module's fixture."""
    asked = "".join(item.name for item in request.session.items)
    chosen = [story for story in stories if f"[{story.__name__}]" in asked]
    with ThreadPoolExecutor(len(chosen)) as pool:
        yield {
            story.__name__: pool.submit(story, folders.mktemp(story.__name__)) for story in chosen
        }


def hear(told: Told, name: str) -> None:
    """Wait for the end of a story, and raise what it raised."""
    told[name].result()
    assert told[name].done()
