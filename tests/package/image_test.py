"""The image of packaging/Containerfile: built as it stands, and run with what it asks for alone.

No registry is asked: what it starts from is made here, by debootstrap. Chroot isolation needs no
more rights than a container on a build machine has; process 1 of a process namespace it is not, so
that is a test of its own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.debian_box import ROOT, base
from support.packaged import CONFIG
from support.waiting import wait_until

from lvskeeper import __version__
from lvskeeper.errors import ExitStatus
from lvskeeper.lab.netns import Namespace, delete, laboratory_prefix, run_ip

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

CONTAINERFILE: Final = ROOT / "packaging/Containerfile"
CAPABILITIES: Final = re.findall(r"--cap-add (\w+)", CONTAINERFILE.read_text().split("FROM")[0])
"""What its documentation says that it needs."""
BITS: Final = {"NET_ADMIN": 12, "NET_RAW": 13}
"""Of linux/capability.h."""
USUAL: Final = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
"""What builders give unasked; here ``--cap-drop all`` takes the added ones as well."""
PLAIN: Final = CONFIG.replace("vrrp_rt_priority 50", "").replace("vrrp_no_swap", "")
"""Real-time priority and locked memory need two capabilities more."""
PROCESS_1: Final = """
set -e
root=$1 names=$2
shift 2
mount -t proc proc "$root/proc"
mkdir -p "$root/run/lvskeeper"
mount -t tmpfs tmpfs "$root/run/lvskeeper"
exec chroot "$root" setpriv --bounding-set="$names" "$@"
"""
"""What a runtime does before it starts a process, in namespaces of its own."""


class Image:
    """A store of images with ours in it."""

    def __init__(self, folder: Path, package: Path) -> None:
        self._store = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        origin = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", origin, str(base()), "/")
        self.buildah("commit", "--quiet", "--rm", origin, "docker.io/library/debian:bookworm-slim")
        (folder / "context/dist").mkdir(parents=True)
        shutil.copy(package, folder / "context/dist")
        self.buildah(
            "bud", "--quiet", "--isolation", "chroot", "--pull-never", "--tag", "lvskeeper",
            "--file", str(CONTAINERFILE), str(folder / "context"),
        )  # fmt: skip
        described = json.loads(self.buildah("inspect", "--type", "image", "localhost/lvskeeper"))
        self.config: Final = described["OCIv1"]["config"]
        self.command: Final[list[str]] = [*self.config["Entrypoint"], *self.config["Cmd"]]

    def buildah(self, *argv: str) -> str:
        done = subprocess.run(
            ["buildah", *self._store, *argv], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, (argv, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout.strip()

    def container(self) -> str:
        """Return a new container of it: they are left alone by what others do to theirs."""
        return self.buildah("from", "--pull-never", "localhost/lvskeeper")

    def run(self, site: "Site", *argv: str) -> list[str]:
        """Return how *argv* is run in a container, with the documented capabilities and folders."""
        return [
            "buildah", *self._store, "run", "--isolation", "chroot",
            *(f"--cap-drop=CAP_{name}" for name in USUAL),
            *(f"--cap-add=CAP_{name}" for name in CAPABILITIES),
            f"--volume={site.folder}:/etc/lvskeeper:ro",
            f"--volume={site.run_dir}:/run/lvskeeper",
            self.container(), "--", *argv,
        ]  # fmt: skip


class Site:
    """A network namespace, a folder with a configuration, and a runtime directory."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace: Final = namespace
        self.folder: Final = folder / "etc"
        self.run_dir: Final = folder / "run"
        self.log: Final = folder / "log"
        self.folder.mkdir()
        self.run_dir.mkdir()
        (self.folder / "lvskeeper.conf").write_text(PLAIN)

    def start(self, argv: list[str]) -> "subprocess.Popen[str]":
        """Start *argv*, its standard error in the log, and wait until it is master."""
        with self.log.open("w") as log:
            process = self.namespace.popen(argv, stdout=log, stderr=log)
        wait_until(
            lambda: ("vrrp_state_changed", "MASTER") in self.events() or process.poll() is not None,
            self.log.read_text,
            limit=60,
        )
        assert "192.0.2.10/24" in self.addresses(), self.log.read_text()
        return process

    def events(self) -> list[tuple[str, str | None]]:
        """Return the names of what was logged, each with the new state if it has one."""
        lines = [line for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [(one["event"], one.get("new")) for one in map(json.loads, lines)]

    def addresses(self) -> str:
        return self.namespace.run(["ip", "-br", "address", "show", "dev", "eth0"]).stdout


@pytest.fixture(scope="module")
def image(package: Path) -> Iterator[Image]:
    for tool in ("buildah", "debootstrap"):
        assert shutil.which(tool), f"apt-get install {tool}"
    with tempfile.TemporaryDirectory(prefix="lvskeeper-image-") as folder:
        made = Image(Path(folder), package)
        try:
            yield made
        finally:
            made.buildah("rm", "--all")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    name = f"{laboratory_prefix()}-image"
    run_ip("netns", "add", name)
    namespace = Namespace(name)
    try:
        namespace.ip(
            "link set lo up", "link add eth0 type veth peer name far",
            "address add 192.0.2.1/24 dev eth0", "link set eth0 up", "link set far up",
        )  # fmt: skip
        yield Site(namespace, tmp_path)
    finally:
        delete([name])
        namespace.reap()


def ended_in_order(site: Site) -> None:
    names = [name for name, _ in site.events()]
    assert names.index("daemon_stopping") < names.index("vips_released")
    assert names[-1] == "daemon_stopped"
    assert "apply_failed" not in names
    assert "192.0.2.10" not in site.addresses()


def test_it_has_its_command_its_user_and_nothing_of_its_making(image: Image, site: Site) -> None:
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.command == ["/usr/bin/lvskeeper", "run", "--log-format", "json"]
    script = """
        id -un lvskeeper; ls /tmp /var/lib/apt/lists; which conntrackd
        dpkg --verify lvskeeper | grep -v /etc/lvskeeper/
    """
    done = site.namespace.run(image.run(site, "sh", "-c", script), check=False)
    assert done.stdout.split() == [
        "lvskeeper", "/tmp:", "/var/lib/apt/lists:", "/usr/sbin/conntrackd",
    ]  # fmt: skip
    version = site.namespace.run(image.run(site, "lvskeeper", "--version"))
    assert version.stdout == f"lvskeeper {__version__}\n"


def test_check_and_doctor_speak_of_the_mounted_file(image: Image, site: Site) -> None:
    file = "/etc/lvskeeper/lvskeeper.conf"
    good = site.namespace.run(image.run(site, "lvskeeper", "check", file))
    assert "1 VRRP instance, 0 warnings" in good.stdout
    doctor = site.namespace.run(
        image.run(site, "lvskeeper", "doctor", "--listen", "0"), check=False
    )
    assert "root has CAP_NET_ADMIN, CAP_NET_RAW" in doctor.stdout
    assert "0 problems" in doctor.stdout
    (site.folder / "lvskeeper.conf").write_text(PLAIN + "bogus\n")
    bad = site.namespace.run(image.run(site, "lvskeeper", "check", file), check=False)
    assert bad.returncode == ExitStatus.CONFIG
    assert "bogus" in bad.stdout + bad.stderr


def test_a_runtime_directory_of_another_user_is_refused(image: Image, site: Site) -> None:
    os.chown(site.run_dir, 65534, 65534)
    done = site.namespace.run(image.run(site, *image.command), check=False)
    assert done.returncode == ExitStatus.PERMISSION
    assert "runtime directory /run/lvskeeper: Permission denied" in done.stderr


def test_with_two_capabilities_it_serves_and_a_signal_ends_it_in_order(
    image: Image, site: Site
) -> None:
    status = site.namespace.run(image.run(site, "cat", "/proc/self/status")).stdout
    mask = sum(1 << BITS[name] for name in CAPABILITIES)
    for kind in ("CapEff", "CapBnd"):
        assert re.search(rf"^{kind}:\t{mask:016x}$", status, re.MULTILINE)
    process = site.start(image.run(site, *image.command))
    shown = site.namespace.run(image.run(site, "lvskeeper", "status", "vrrp"))
    assert re.search("VI_1 .*MASTER", shown.stdout)
    daemon = int((site.run_dir / "lvskeeper.pid").read_text())
    assert b"lvskeeper" in Path(f"/proc/{daemon}/cmdline").read_bytes()
    os.kill(daemon, signal.SIGTERM)
    assert process.wait(30) == 0
    ended_in_order(site)


def test_as_process_1_it_hears_the_signal_as_well(image: Image, site: Site) -> None:
    root = Path(image.buildah("mount", image.container()))
    (root / "etc/lvskeeper/lvskeeper.conf").write_text(PLAIN)
    names = ",".join(["-all", *(f"+{name.lower()}" for name in CAPABILITIES)])
    process = site.start([
        "unshare", "--mount", "--pid", "--fork", "--kill-child",
        "sh", "-c", PROCESS_1, "runtime", str(root), names, *image.command,
    ])  # fmt: skip
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    status = Path(f"/proc/{child}/status").read_text()
    assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0000000000003000$", status, re.MULTILINE)
    os.kill(int(child), signal.SIGTERM)
    assert process.wait(30) == 0
    ended_in_order(site)
