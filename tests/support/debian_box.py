"""A small Debian of its own, from debootstrap, that systemd boots in namespaces of its own."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from support.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
RELEASE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
BASE: Final = ROOT / f".cache/base-{RELEASE}.tar"
CACHE: Final = ROOT / f".cache/chroot-{RELEASE}.tar"
PACKAGES: Final = ("ca-certificates", "dbus", "logrotate", "systemd", "systemd-sysv")
CGROUPS: Final = Path("/sys/fs/cgroup")
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT: Final = """
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
fi
ip link set lo up
ip link add eth0 type veth peer name far
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set far up
exec env -i container=lvskeeper PATH="$PATH" chroot "$root" /lib/systemd/systemd --system
"""
"""What is done inside the namespaces before systemd is process 1 there."""


def base() -> Path:
    """Return a tar file of the least Debian there is, near to the image debian:bookworm-slim."""
    if not BASE.exists():
        with tempfile.TemporaryDirectory(prefix="lvskeeper-base-") as folder:
            made = Path(folder) / "made"
            subprocess.run(
                ["debootstrap", "--variant=minbase", RELEASE, made, MIRROR],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            _pack(made, BASE)
    return BASE


def _pack(root: Path, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    draft = file.with_suffix(".new")
    subprocess.run(["tar", "-cpf", draft, "-C", root, "."], check=True)
    draft.replace(file)


class Machine:
    """A context manager that leaves nothing behind; it boots when it is told to."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lvskeeper-package-"))
        self.root: Final = self._folder / "root"
        self._name = self._folder.name
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        self.root.mkdir()
        whole = CACHE.exists()
        start = CACHE if whole else base()
        subprocess.run(["tar", "-xpf", start, "-C", self.root], check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        # Nothing is started before systemd runs
        guard = self.root / "usr/sbin/policy-rc.d"
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
        if not whole:
            self.install(*PACKAGES)
            self.chroot("apt-get", "clean")
            _pack(self.root, CACHE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # and process 1 with it (--kill-child), and so all of them
            self._process.wait(30)
            wait_until(lambda: not self._init or not Path(f"/proc/{self._init}").exists(), limit=30)
        for folder in self._cgroups():
            for one in sorted(folder.glob("**/"), reverse=True):
                with contextlib.suppress(OSError):
                    one.rmdir()
        shutil.rmtree(self._folder)

    def chroot(
        self, *argv: str, check: bool = True, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in it without booting it."""
        return self._run(["chroot", str(self.root), *argv], check, environment)

    def install(self, *packages: str) -> None:
        """Install Debian packages, or files of some, with what they depend on and nothing more."""
        self.chroot("apt-get", "update", "-qq")
        self.chroot(
            "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages,
            DEBIAN_FRONTEND="noninteractive",
        )  # fmt: skip

    def run(self, *argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command in the booted machine."""
        inside = ["nsenter", f"--target={self._init}", "-m", "-p", "-n", "-u", "-i", "-C"]
        return self._run([*inside, "chroot", str(self.root), *argv], check, {})

    def boot(self) -> None:
        """Let systemd start, and wait until it runs."""
        script = f'for one in {" ".join(map(str, self._cgroups()))}; do mkdir -p "$one"; '
        script += 'echo $$ >"$one/cgroup.procs"; done; exec "$@"'
        namespaces = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        command = [
            "sh", "-ec", script, "sh", *namespaces, "--fork", "--kill-child",
            "sh", "-c", BOOT, "boot", str(self.root),
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"PATH": PATH},
        )
        process = Path(f"/proc/{self._process.pid}")
        children = process / f"task/{self._process.pid}/children"
        # The shell before it has children as well
        wait_until(
            lambda: (process / "comm").read_text() == "unshare\n" and children.read_text(),
            "no process 1",
            limit=30,
        )
        self._init = int(children.read_text().split()[0])
        wait_until(self._up, "systemd did not come up", limit=120, pause=0.2)

    def _up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def _cgroups(self) -> list[Path]:
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / self._name]
        return [CGROUPS / "systemd" / self._name, CGROUPS / "unified" / self._name]

    def _run(
        self, argv: Sequence[str], check: bool, environment: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=600,
            stdin=subprocess.DEVNULL, env={"PATH": PATH, "LANG": "C.UTF-8", **environment},
        )  # fmt: skip
        assert not check or done.returncode == 0, (argv, done.stdout[-3000:], done.stderr[-3000:])
        return done
