"""Asks who a user or a group is, beside the loop: a directory service (LDAP) may hang."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from typing import Final, TypeVar

MAX_LOOKUPS: Final = 8
"""Questions that may wait for an answer; who comes then gets none."""
SILENCE: Final = 5.0
"""Seconds without an answer from which on it is told."""

_free: Final = threading.BoundedSemaphore(MAX_LOOKUPS)

T = TypeVar("T")


def look_up(work: Callable[[], T]) -> asyncio.Future[T]:
    """Return what *work* will return or raise; one too many gets a ``LookupError``.

    Not by the loop's own threads: the end of the loop waits for those.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    # That nobody may wait for its failure any more is no news.
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
    if _free.acquire(blocking=False):
        threading.Thread(
            target=_ask, args=(work, loop, answer), name="look up", daemon=True
        ).start()
    else:
        answer.set_exception(LookupError(f"{MAX_LOOKUPS} questions before it have no answer yet"))
    return answer


def _ask(work: Callable[[], T], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T]) -> None:
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - whoever waits is to have it
        done.set_exception(error)
    finally:
        _free.release()
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(_give, done, answer)


def _give(done: concurrent.futures.Future[T], answer: asyncio.Future[T]) -> None:
    if answer.done():
        return  # nobody waits any more
    if error := done.exception():
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
