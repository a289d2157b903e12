"""Why something is as it is: chains of reasons in plain words, made of views.

Each answer says how it is, because of what, and what would change it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.observe.override_words import in_words
from lvskeeper.observe.tables import count, format_age
from lvskeeper.observe.views import CheckView, DirectorView, RouterView, ServerView, VirtualView

MAX_SERVERS: Final = 20
"""Real servers that are told of one by one."""


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence, and what it rests on."""

    text: str
    because: tuple["Reason", ...] = ()

    def lines(self, depth: int = 0) -> Iterable[str]:
        """Yield it and all below it, each a step further in."""
        yield f"{'  ' * depth}{'- ' if depth else ''}{self.text}"
        for reason in self.because:
            yield from reason.lines(depth + 1)


@final
@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer; ``str()`` is the text."""

    how: Reason
    changes: tuple[str, ...]
    """What would change it."""

    def __str__(self) -> str:
        text = "\n".join(self.how.lines())
        if self.changes:
            text += "\n\nWhat would change that:" + "".join(f"\n- {item}" for item in self.changes)
        return text + "\n"


def explain_virtual(
    virtual: VirtualView, director: DirectorView, router: RouterView | None, delay: float = 0.0
) -> Explanation:
    """Explain a virtual server; *delay* seconds have passed since the views were taken."""
    how = {
        "up": "serves, and has its quorum",
        "weak": "goes on with too few real servers: its quorum is lost, and it has no sorry server",
        "sorry": f"is served by its sorry server {virtual.sorry} alone",
        "down": "is down: no real server takes new connections",
    }[virtual.state]
    because = [_quorum(virtual, delay), *_servers(virtual, delay)]
    because += [Reason(f"the kernel refuses: {text}") for text in virtual.refused]
    because += _holders(virtual, router)
    because += _pool(virtual, director)
    changes = _what_gains(virtual, delay) if virtual.state != "up" else _what_loses(virtual)
    return Explanation(Reason(f"{virtual.name} {how}.", tuple(because)), tuple(changes))


def _quorum(virtual: VirtualView, delay: float) -> Reason:
    since = format_age(virtual.for_seconds + delay)
    if virtual.quorum:
        return Reason(
            f"it has had its quorum for {since}: the weight of its live servers is {virtual.live}, "
            f"it is lost below {virtual.lose_below}"
        )
    return Reason(
        f"its quorum has been missing for {since}: the weight of its live servers is "
        f"{virtual.live}, it takes {virtual.gain_at}"
    )


def _servers(virtual: VirtualView, delay: float) -> list[Reason]:
    if not virtual.servers:
        return [Reason("it has no real server")]
    down = [server for server in virtual.servers if not server.up]
    idle = [server for server in virtual.servers if server.up and not server.serving]
    up = len(virtual.servers) - len(down)
    reasons = [Reason(f"{up} of its {count(len(virtual.servers), 'real server')} is up")]
    if up != 1:
        reasons = [Reason(f"{up} of its {count(len(virtual.servers), 'real server')} are up")]
    for server in down[:MAX_SERVERS]:
        since = format_age(server.for_seconds + delay)
        failing = tuple(_check(check, delay) for check in server.failing)
        reasons.append(Reason(f"{server.name} has been down for {since}", failing))
    if len(down) > MAX_SERVERS:
        reasons.append(
            Reason(f"{len(down) - MAX_SERVERS} more are down: see `lvskeeper status rs`")
        )
    reasons += [
        Reason(f"{server.name} is up, but {_why_idle(server, virtual)}")
        for server in idle[:MAX_SERVERS]
    ]
    return reasons


def _check(check: CheckView, delay: float) -> Reason:
    if check.age is None:
        return Reason(f"{check.name} has no result yet, and alpha waits for one")
    asked = f"asked {format_age(check.age + delay)} ago"
    if check.up:
        said = f"failed {check.failed} of {check.attempts} times" if check.failed else "answers"
        return Reason(f"{check.name} {said}; {asked}")
    return Reason(f"{check.name} fails: {check.detail}; {asked}")


def _why_idle(server: ServerView, virtual: VirtualView) -> str:
    if virtual.sorry_serves:
        return "waits: while the quorum is missing the sorry server serves alone"
    if server.override is not None and not server.override.weight:
        return f"an operator wants it so: {in_words(server.override)}"
    if not server.effective and server.configured:
        return "its checks gave it weight 0"
    return "its weight is 0"


def _holders(virtual: VirtualView, router: RouterView | None) -> Iterable[Reason]:
    if router is None:
        return
    for instance in router.instances:
        held = [address for address in virtual.addresses if address in instance.addresses]
        if held and not instance.held:
            heard = f", and {instance.master} is master" if instance.master else ""
            yield Reason(
                f"no traffic comes here for {', '.join(held)}: VRRP instance {instance.name} is "
                f"{instance.state}{heard} (`lvskeeper explain instance {instance.name}`)"
            )


def _pool(virtual: VirtualView, director: DirectorView) -> Iterable[Reason]:
    for pool in director.pools:
        if pool.name == virtual.pool and pool.state != "roomy":
            yield Reason(
                f"its local-address group {pool.name} is {pool.state}: toward {pool.place} "
                f"{pool.used} of {pool.capacity} ports are in use; new connections fail when "
                f"none is left"
            )


def _what_gains(virtual: VirtualView, delay: float) -> Iterable[str]:
    if not virtual.quorum:
        missing = virtual.gain_at - virtual.live
        if missing > 0:
            yield f"servers of weight {missing} more that come up bring the quorum back"
    down = [server for server in virtual.servers if not server.up]
    for server in down[:MAX_SERVERS]:
        yield f"{server.name} brings weight {server.effective}: {_when_asked(server, delay)}"
    if not down and virtual.state == "down":
        yield "a real server with a weight above 0"


def _what_loses(virtual: VirtualView) -> Iterable[str]:
    if virtual.servers:
        spare = virtual.live - virtual.lose_below
        yield f"servers of weight {spare + 1} that go down lose the quorum"


def _when_asked(server: ServerView, delay: float) -> str:
    failing = list(server.failing)
    if not failing:
        return "it has no check that fails"
    waits = [max(0.0, check.due - delay) for check in failing if check.due is not None]
    when = f"it is asked again in {format_age(max(waits))}" if waits else "it is being asked now"
    need = "one good answer lets it in" if len(failing) == 1 else "each of its checks has to answer"
    return f"{when}, and {need}"


def explain_server(server: ServerView, virtual: VirtualView, delay: float = 0.0) -> Explanation:
    """Explain a real server of *virtual*; *delay* seconds have passed since the views."""
    since = format_age(server.for_seconds + delay)
    if not server.up:
        how = f"has been down for {since}, and gets no new connections"
    elif server.serving:
        how = f"has been up for {since}, and serves with weight {server.weight} by {server.forward}"
    else:
        how = f"has been up for {since}, but {_why_idle(server, virtual)}"
    because = [_check(check, delay) for check in server.checks]
    if not server.checks:
        because.append(Reason("it has no check, and so it is always up"))
    if server.override is not None and server.serving:
        because.append(Reason(f"its weight is an operator's: {in_words(server.override)}"))
    elif server.effective != server.configured and server.override is None:
        because.append(
            Reason(f"its checks changed its weight from {server.configured} to {server.effective}")
        )
    changes = list(_server_changes(server, virtual, delay))
    name = f"{server.name} of {virtual.name}"
    return Explanation(Reason(f"{name} {how}.", tuple(because)), tuple(changes))


def _server_changes(server: ServerView, virtual: VirtualView, delay: float) -> Iterable[str]:
    if not server.up:
        yield f"{_when_asked(server, delay)}"
    elif virtual.sorry_serves:
        yield f"the quorum: live weight {virtual.live} has to become {virtual.gain_at}"
    elif not server.serving and server.override is not None:
        words = ("undrain", server.name) if server.override.kind != "disable" else (
            "enable", f"'{virtual.name}'"
        )  # fmt: skip
        yield f"`lvskeeper {' '.join(words)}`"
    elif not server.serving:
        yield "a weight above 0"
    else:
        for check in server.checks:
            left = max(1, check.attempts - check.failed)
            times = "one failure" if left == 1 else f"{left} failures in a row"
            yield f"{times} of {check.name} would take it out"
