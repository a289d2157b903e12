"""Who is told of transitions: scripts of another user in order, a pipe, and a mailbox."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest
from support.vrrp_lan import OURS, wait_until
from support.vrrp_net import DEVICE
from support.vrrp_site import Site, instance, site

pytestmark = pytest.mark.root

PORT = 2525
USER = "nobody"
STATES = ["BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "STOP"]
"""What :func:`live` goes through."""


def live(it: Site) -> None:
    """Have a whole life: start, mastership, a fault that heals, stop."""
    it.daemon.start()
    it.wait("MASTER")
    it.wait_for_holders(OURS)
    since = time.monotonic()
    it.lan.ours.ip(f"link set {DEVICE} down")
    it.wait("FAULT", since=since)
    it.lan.ours.ip(f"link set {DEVICE} up")
    it.wait("MASTER", since=since)
    it.wait_for_holders(OURS)
    assert it.daemon.stop() == 0


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder where another user may run and write things."""
    folder = Path(mkdtemp())
    try:
        shutil.chown(folder, USER)
        yield folder
    finally:
        shutil.rmtree(folder)


def test_scripts_run_in_order_as_another_user(tmp_path: Path) -> None:
    with open_folder() as folder:
        log = folder / "log"
        script = folder / "tell"
        # Slow at first: what comes later has to wait for it
        script.write_text(
            f'#!/bin/sh\n[ "$3" = BACKUP ] && sleep 0.7\necho "$(id -un) $*" >> {log}\n'
        )
        script.chmod(0o755)
        text = f"global_defs {{\n script_user {USER}\n}}\n" + instance(
            "one", f'notify "{script}"', f'notify_fault "{script} one fault"'
        )
        with site(tmp_path, text) as it:
            live(it)
        lines = log.read_text().splitlines()
    expected = [f"{USER} INSTANCE one {state} 100" for state in STATES]
    expected.insert(STATES.index("FAULT"), f"{USER} one fault")
    assert lines == expected


def test_a_pipe_gets_a_line_a_transition(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with site(tmp_path, f"global_defs {{\n notify_fifo {path}\n}}\n" + instance()) as it:
            live(it)
        lines = os.read(reader, 4096).decode().splitlines()
    finally:
        os.close(reader)
    assert lines == [f'INSTANCE "one" {state} 100' for state in STATES]


def test_mail_reaches_a_mailbox(tmp_path: Path) -> None:
    text = f"""
global_defs {{
  router_id lb1
  smtp_server 127.0.0.1 {PORT}
  smtp_alert
  notification_email {{
    admin@there.test
  }}
}}
"""
    with site(tmp_path, text + instance()) as it, (tmp_path / "mails").open("w+") as mails:
        it.lan.ours.popen(
            [sys.executable, "-u", "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{PORT}",
             "-c", "aiosmtpd.handlers.Debugging", "stdout"],
            stdout=mails,
        )  # fmt: skip
        listening = ["ss", "-ltnH", f"sport = :{PORT}"]
        wait_until(lambda: bool(it.lan.ours.run(listening).stdout), "no mail server")
        it.daemon.start()
        subject = "[lb1] VRRP Instance one - Entering MASTER state"
        it.daemon.wait_for("mail_sent", detail=subject)
        it.daemon.wait_for("mail_sent", detail=subject.replace("MASTER", "BACKUP"))
        assert it.daemon.stop() == 0
        received = (tmp_path / "mails").read_text()
    subjects = [line for line in received.splitlines() if line.startswith("Subject: ")]
    words = ("Entering BACKUP state", "Entering MASTER state", "Stopping")
    assert subjects == [f"Subject: [lb1] VRRP Instance one - {word}" for word in words]
    assert "To: admin@there.test" in received
    assert "=> VRRP Instance is now owning VRRP VIPs <=" in received
