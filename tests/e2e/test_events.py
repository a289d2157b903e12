"""``lvskeeper events`` beside a daemon: what it told before, what it tells, and its restart."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.commands import command as run
from support.vrrp_site import instance, site

pytestmark = pytest.mark.root


def command(run_dir: Path, *options: str) -> list[str]:
    base = [sys.executable, "-m", "lvskeeper", "events", "--run-dir", str(run_dir)]
    return [*base, "-o", "json", "-l", "debug", *options]


@contextmanager
def following(run_dir: Path, *options: str) -> Iterator[Iterator[dict[str, object]]]:
    asked = command(run_dir, "-f", *options)
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield (json.loads(line) for line in process.stdout)
        finally:
            process.kill()


def test_events_of_all_roles_before_and_after_the_question(tmp_path: Path) -> None:
    with site(tmp_path, instance()) as made:
        made.daemon.start()
        made.wait("MASTER")
        run_dir = made.daemon.run_dir
        done = run("events", "-n", 1000, "-o", "json", "-l", "debug", "--run-dir", run_dir)
        before = [json.loads(line) for line in done.out.splitlines()]
        assert [event["number"] for event in before] == list(range(1, len(before) + 1))
        for role in ("supervisor", "router"):
            told = [one.name for one in made.daemon.told if one.fields["role"] == role]
            assert [one["event"] for one in before if one["role"] == role] == told
        ready = run("events", "-n", 1, "-e", "daemon_started", "--run-dir", run_dir)
        assert ready.out.count("\n") == 1, "the last of those that are wanted, not of all"
        names = ("-e", "vrrp_state_changed", "-e", "daemon_ready")
        with following(run_dir, "-n", "1000", *names) as came:
            assert any(event.get("new") == "MASTER" for event in came)
            made.lan.ours.ip("link set eth0 down")
            down = next(came)
            assert (down["instance"], down["new"], down["level"]) == ("one", "FAULT", "notice")
            made.daemon.kill()
            made.lan.ours.ip("link set eth0 up")
            made.daemon.start()
            assert any(event["event"] == "daemon_ready" for event in came)
