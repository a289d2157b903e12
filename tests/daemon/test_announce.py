"""What a director tells of real and virtual servers: lines of pipes, mails, scripts."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.director_site import PORTS, Site, configuration, listening, site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.channel import Mail, Stop
from lvskeeper.ipvs.dialect import MAINLINE

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

PORT = PORTS[0]
RS = f"[127.0.0.1]:tcp:{PORT}"
VS = "[198.51.100.1]:tcp:80"
MAILS = (
    "  router_id d1\n  smtp_server 127.0.0.1 25\n  notification_email {\n    ops@example.org\n  }\n"
)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up")
        yield


@pytest.fixture
def kernel() -> FakeIpvs:
    return FakeIpvs(MAINLINE)


class Reader:
    """Who reads the pipe of a director."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fifo"
        os.mkfifo(self.path)
        self.end = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.text = b""

    def lines(self) -> list[str]:
        """Return all lines so far."""
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self.end, 65536)
        return self.text.decode().splitlines()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    os.close(reader.end)


def head(pipe: Reader, extra: str = "", keyword: str = "lvs_notify_fifo") -> str:
    return f"global_defs {{\n  {keyword} {pipe.path} root\n{extra}}}"


async def mails(here: Site, number: int) -> list[Mail]:
    """Wait for mails that are on their way to the supervisor: another answer is behind them."""
    for _ in range(100):
        await here.applied((here.folder / "site.conf").read_text())
        if len(here.mails) >= number:
            break
    return here.mails


@pytest.mark.parametrize("keyword", ["lvs_notify_fifo", "notify_fifo"])
async def test_lines_of_a_pipe_are_those_of_keepalived(
    kernel: FakeIpvs, tmp_path: Path, pipe: Reader, keyword: str
) -> None:
    text = configuration(PORT, head=head(pipe, keyword=keyword), extra="  omega")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        first = [f"VS {VS} UP", f"RS {RS} {VS} DOWN", f"VS {VS} DOWN"]
        await here.until(lambda: pipe.lines() == first)
        async with listening(PORT):
            await here.until(lambda: len(pipe.lines()) == 5)
            await here.ask(Stop(remove=True))
    assert pipe.lines()[3:] == [
        f"RS {RS} {VS} UP",
        f"VS {VS} UP",
        f"RS {RS} {VS} DOWN",
        f"VS {VS} DOWN",
    ]


async def test_groups_and_marks_have_the_names_that_keepalived_gives_them(
    kernel: FakeIpvs, tmp_path: Path, pipe: Reader
) -> None:
    group = "virtual_server_group web {\n  198.51.100.1 80\n  198.51.100.2 80\n}\n"
    one = configuration(PORT).replace("virtual_server 198.51.100.1 80", "virtual_server group web")
    two = one.replace("protocol TCP", "protocol UDP")
    mark = configuration(PORT).replace("198.51.100.1 80", "fwmark 7").replace("protocol TCP", "")
    async with site(kernel, tmp_path) as here:
        await here.applied(head(pipe) + "\n" + group + one + two + mark)
        await here.until(lambda: len(pipe.lines()) == 9)
    assert set(pipe.lines()) == {
        "VS [web]:0 UP",
        "VS [web]:1 UP",
        "VS FWM 7 UP",
        f"RS {RS} [web]:0 DOWN",
        "VS [web]:0 DOWN",
        f"RS [127.0.0.1]:udp:{PORT} [web]:1 DOWN",
        "VS [web]:1 DOWN",
        f"RS [127.0.0.1]:none:{PORT} FWM 7 DOWN",
        "VS FWM 7 DOWN",
    }


async def test_a_quorum_that_was_lost_before_a_restart_is_not_told_again(
    kernel: FakeIpvs, tmp_path: Path, pipe: Reader
) -> None:
    text = configuration(PORT, head=head(pipe), extra="  alpha\n  sorry_server 127.0.0.1 8099")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: pipe.lines() == [f"VS {VS} DOWN"])
        await here.gone()
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        assert here.named("quorum_missing")
    async with site(kernel, tmp_path) as here, listening(PORT):
        await here.applied(text)
        await here.until(lambda: here.named("quorum_gained"))
    assert pipe.lines()[1:] == [f"RS {RS} {VS} UP", f"VS {VS} UP"]


async def test_servers_that_are_up_from_the_start_are_told_of_where_that_is_asked_for(
    kernel: FakeIpvs, tmp_path: Path, pipe: Reader
) -> None:
    text = configuration(PORT, head=head(pipe, "  rs_init_notifies\n"))
    async with site(kernel, tmp_path) as here, listening(*PORTS[:2]):
        await here.applied(text)
        first = [f"RS {RS} {VS} UP", f"VS {VS} UP"]
        await here.until(lambda: pipe.lines() == first)
        await here.applied(configuration(*PORTS[:2], head=head(pipe, "  rs_init_notifies\n")))
        added = f"RS [127.0.0.1]:tcp:{PORTS[1]} {VS} UP"
        await here.until(lambda: pipe.lines() == [*first, added])
        await here.gone()
    async with site(kernel, tmp_path) as here, listening(*PORTS[:2]):
        await here.applied(configuration(*PORTS[:2], head=head(pipe, "  rs_init_notifies\n")))
        assert here.named("table_adopted")
        assert len(pipe.lines()) == 3


async def test_what_a_reload_takes_out_is_down_without_omega_too(
    kernel: FakeIpvs, tmp_path: Path, pipe: Reader
) -> None:
    async with site(kernel, tmp_path) as here, listening(*PORTS[:2]):
        await here.applied(configuration(*PORTS[:2], head=head(pipe)))
        await here.applied(configuration(PORT, head=head(pipe)))
        gone = f"RS [127.0.0.1]:tcp:{PORTS[1]} {VS} DOWN"
        await here.until(lambda: pipe.lines() == [f"VS {VS} UP", gone])
        await here.applied(configuration(PORT, head=head(pipe), vip="198.51.100.2"))
        left = ["VS [198.51.100.2]:tcp:80 UP", f"RS {RS} {VS} DOWN", f"VS {VS} DOWN"]
        await here.until(lambda: pipe.lines()[2:] == left)
        await here.ask(Stop(remove=True))
    assert len(pipe.lines()) == 5


async def test_mails_are_those_of_keepalived(kernel: FakeIpvs, tmp_path: Path) -> None:
    text = configuration(
        PORT, head=f"global_defs {{\n{MAILS}}}", extra="  smtp_alert\n  quorum 5\n  omega"
    )
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: here.named("quorum_lost"))
        async with listening(PORT):
            await here.until(lambda: here.named("quorum_gained"))
            assert len(await mails(here, 5)) == 5
            await here.ask(Stop(remove=True))
        told = [(mail.subject, mail.body) for mail in here.mails]
    server, virtual = f"[d1] Realserver {RS} of virtual server {VS}", f"[d1] Virtualserver {VS}"
    assert told == [
        (f"{virtual} - UP", "=> Starting with quorum up 1+0=1 <= 1 <="),
        (f"{server} - DOWN", "=> TCP CHECK failed on service : connect: connection refused <="),
        (f"{virtual} - DOWN", "=> Lost quorum 1-0=1 > 0 <="),
        (f"{server} - UP", "=> TCP CHECK succeed on service <="),
        (f"{virtual} - UP", "=> Gained quorum 1+0=1 <= 1 <="),
        (f"{server} - DOWN", "=> Shutting down <="),
        (f"{virtual} - DOWN", "=> Shutting down <="),
    ]


@pytest.mark.parametrize(
    ("settings", "virtual", "real", "expected"),
    [
        ("", "", "", ["Realserver"]),
        ("smtp_alert", "", "", ["Virtualserver", "Realserver", "Virtualserver"]),
        ("smtp_alert no", "", "", []),
        ("smtp_alert\n  smtp_alert_checker no", "", "", []),
        ("smtp_alert_checker", "smtp_alert no", "", ["Realserver"]),
        ("smtp_alert no", "smtp_alert", "", ["Virtualserver", "Virtualserver"]),
        ("smtp_alert no", "", "smtp_alert", ["Realserver"]),
        ("", "", "smtp_alert no", []),
    ],
)
async def test_who_gets_a_mail(  # noqa: PLR0917 - a table of cases
    kernel: FakeIpvs, tmp_path: Path, settings: str, virtual: str, real: str, expected: list[str]
) -> None:
    text = configuration(PORT, head=f"global_defs {{\n{MAILS}  {settings}\n}}", extra=virtual)
    text = text.replace("    TCP_CHECK", f"    {real}\n    TCP_CHECK")
    async with site(kernel, tmp_path) as here:
        await here.applied(text)
        await here.until(lambda: here.named("quorum_lost"))
        await here.ask(Stop(remove=True))
        assert [mail.subject.split()[1] for mail in here.mails] == expected


async def test_a_sorry_server_may_stay_in_the_table(kernel: FakeIpvs, tmp_path: Path) -> None:
    extra = "  sorry_server 127.0.0.1 8099\n  sorry_server_inhibit\n  sorry_server_lvs_method DR"
    text = configuration(PORT, extra=extra)

    def weights() -> dict[int, int]:
        entry = next(iter(kernel.table.values()))
        return {key.port: item.weight for key, item in entry.destinations.items()}

    async with site(kernel, tmp_path) as here:
        async with listening(PORT):
            await here.applied(text)
            assert weights() == {PORT: 1, 8099: 0}
        await here.until(lambda: weights() == {8099: 1})
        await here.gone()
    async with site(kernel, tmp_path) as here, listening(PORT):
        await here.applied(text)
        assert not here.named("service_changed")
        await here.until(lambda: weights() == {PORT: 1, 8099: 0})
