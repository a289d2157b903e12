import os
import select
from pathlib import Path

import pytest

from lvskeeper.kernel.inotify import Change, DirectoryEvent, Inotify


def told(inotify: Inotify) -> list[tuple[Change, str]]:
    assert select.select([inotify], [], [], 5)[0], "nothing was told"
    return [(event.change, event.name) for event in inotify.read()]


def test_a_written_file_is_told_when_it_is_closed(tmp_path: Path) -> None:
    with Inotify() as inotify:
        watch = inotify.watch(str(tmp_path))
        with (tmp_path / "a").open("w") as file:
            assert inotify.read() == [DirectoryEvent(watch, Change.CREATE, "a")]
            file.write("1")
            file.flush()
            assert inotify.read() == []
        assert told(inotify) == [(Change.CLOSE_WRITE, "a")]


def test_a_file_that_replaces_another_and_one_that_goes(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    with Inotify() as inotify:
        inotify.watch(str(tmp_path))
        (tmp_path / "new").rename(tmp_path / "old")
        (tmp_path / "old").unlink()
        assert told(inotify) == [
            (Change.MOVED_FROM, "new"),
            (Change.MOVED_TO, "old"),
            (Change.DELETE, "old"),
        ]


def test_the_end_of_the_directory_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    with Inotify() as inotify:
        inotify.watch(str(directory))
        directory.rmdir()
        assert told(inotify) == [(Change.DELETE_SELF, ""), (Change.IGNORED, "")]


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    name = b"a\xff b"
    with Inotify() as inotify:
        inotify.watch(str(tmp_path))
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)  # noqa: PTH102 - a name in bytes
        assert told(inotify) == [(Change.CREATE, os.fsdecode(name))]


def test_one_directory_is_one_watch_and_may_be_forgotten(tmp_path: Path) -> None:
    with Inotify() as inotify:
        watch = inotify.watch(str(tmp_path))
        assert inotify.watch(f"{tmp_path}/.") == watch
        inotify.forget(watch)
        inotify.forget(watch)
        assert told(inotify) == [(Change.IGNORED, "")]
        (tmp_path / "a").touch()
        assert inotify.read() == []


@pytest.mark.parametrize(
    ("name", "error"), [("nothing", FileNotFoundError), ("file", NotADirectoryError)]
)
def test_what_cannot_be_watched(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "file").touch()
    with Inotify() as inotify, pytest.raises(error):
        inotify.watch(str(tmp_path / name))


def test_more_than_the_kernel_keeps_is_an_overflow(tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].touch()
    with Inotify() as inotify:
        inotify.watch(str(tmp_path))
        for number in range(most // 2 + 1):
            paths[number % 2].rename(paths[1 - number % 2])
        changes = []
        while events := inotify.read():
            changes += [event.change for event in events]
        assert changes[-1] is Change.OVERFLOW
        assert len(changes) == most + 1


def test_closing_twice_is_harmless() -> None:
    inotify = Inotify()
    inotify.close()
    inotify.close()
    assert inotify.fileno() == -1
