"""docs/keepalived-health.md: what follows from health, and where that differs from keepalived."""

from typing import Final

from support.quorum_cases import CASES, Case, Step, configured

_INTRO: Final = """\
# What follows from health: differences from keepalived

Quorum, hysteresis, sorry server, weights, `alpha`, `omega`, `inhibit_on_failure`, notify scripts,
pipes and mails behave as keepalived's. What differs on purpose is in the first table; the second
shows cases step by step, which the tests play with both on a real kernel
(`tests/e2e/test_quorum_cases.py`, with Debian's keepalived 2.2.7). `LVSKEEPER_GOLDEN=write` renews
this page.

| What | keepalived | lvskeeper |
| --- | --- | --- |
"""

_DIFFERENCES: Final = (
    ("all weights are 0", ("the hysteresis wraps around to 4294967295, and the quorum is never "
     "gained again, whatever the weights become"),
     "the quorum is 1: lost while all weights are 0, gained as soon as one is not"),
    ("`uthreshold`, `lthreshold` of a server at a reload", "are not brought into the kernel",
     "are edited in place"),
    ("HTTP_GET, SSL_GET: a server that comes back", ("the url that failed has to be well, and an "
     "interval later all of them once more, one after the other; with `fast_recovery` at once"),
     "it is up with the first check that finds all urls well, each of which asks for all"),
    ("a scheduler at a reload", ("the kernel has none for some 12 ms, and refuses new connections "
     "meanwhile"), ("nobody is refused: the kernel's answer is dropped, and clients ask again a "
     "second later (with nftables and libnftables1)")),
    ("a sorry server that a reload adds while the quorum is lost", "`quorum_down` is run again",
     "it stands in, and nothing is told again"),
    ("`ha_suspend` of a virtual_server_group", ("finds no address of a group, and never checks "
     "its servers"), "checks rest while none of the group's addresses is on this host"),
    ("`ha_suspend` beside `vip_bind_dev`", "(the fork has both) each waits for the other",
     "a warning: `ha_suspend` has no effect"),
    ("`alpha`, and the first check fails", "`notify_down` is run, though the server never was up",
     "nothing is run: nothing has changed"),
    ("a start with a quorum, or with a sorry server in its place",
     "`quorum_up` or `quorum_down` is run at every start",
     "it is run, unless the kernel's table shows that it has been"),
    ("a stop with `omega`", "`quorum_down` is run also where the quorum is lost already",
     "it is run where there is a quorum"),
    ("lines of pipes", "end with a newline; those of 2.4.3 with a NUL behind it",
     "end with a newline"),
    ("a pipe that is full", "the event is lost",
     "the last state of each server is written as soon as there is room"),
    ("the reader of a pipe that dies", "is gone", "is started again, after a growing pause"),
    ("mails of real servers", ("one for every check that turns, unless `no_checker_emails`; "
     "without a reason"), "one for every turn of the server, with the reason"),
    ("the mail of a lost quorum", "says `1-0=1 <= 0`", "says `1-0=1 > 0`"),
    ("scripts of transitions", ("all run at the same time, without a limit, with the daemon's "
     "environment"), ("those of one server in their order, 8 at a time and 8 of quorums beside, "
     "60 s each, by a process of their own, with a small environment that tells what happened")),
    ("scripts that name no user, without `script_user`",
     "run as `keepalived_script` where there is such a user", "run as the daemon's user"),
    ("`enable_script_security`", ("is judged when the file is read; a symbolic link on the way is "
     "replaced or refused unless `use_symlink_paths`"),
     "is judged at every start of a script; links are followed, and each is judged"),
    ("`vip_bind_dev` (the FULLNAT fork)", ("addresses stay after a stop without `omega`; what "
     "others remove stays away"), ("addresses go with their services at a stop, unless "
     "`lvs_keep_on_stop`, and are put back when others remove them; one that was there before is "
     "left alone")),
)  # fmt: skip

_CASES: Final = """
## Cases

Each row is a step: which real servers are well then, what keepalived shows in the kernel's table
and tells, and lvskeeper's outcome where it is another. `b:0` is the server *b* with weight 0 (a
weight of 1 is left out), `S` the sorry server; `-a` tells that *a* went down, `+VS` that the quorum
was gained, `-VS` that it was lost.
"""


def page() -> str:
    """Return the page."""
    rows = "".join(f"| {what} | {theirs} | {ours} |\n" for what, theirs, ours in _DIFFERENCES)
    return _INTRO + rows + _CASES + "".join(_section(case) for case in CASES)


def _section(case: Case) -> str:
    why = f"\n{case.why}\n" if case.why else ""
    rows = [
        f"| {_moment(case, index)} | {_code(theirs)} | {_code(ours) if ours != theirs else '='} |"
        for index, (theirs, ours) in enumerate(zip(case.theirs, case.expected, strict=True))
    ]
    table = "\n".join(["| well | keepalived | lvskeeper |", "| --- | --- | --- |", *rows])
    return f"\n### {_headline(case.title)}\n\n{_setting(case, 0)}\n{why}\n{table}\n"


def _headline(title: str) -> str:
    first = title.split(maxsplit=1)[0].rstrip(":,")
    return title if "_" in first else title[0].upper() + title[1:]


def _setting(case: Case, index: int) -> str:
    """Return servers and options of a case at a step, in words."""
    options, servers = configured(case, index)
    said = []
    for one in servers:
        more = [
            "" if one.weight == 1 else f"weight {one.weight}",
            ", ".join(one.options.split("\n")),
            "misc_dynamic" if one.script else "",
            "two checks" if one.twice else "",
        ]
        text = ", ".join(filter(None, more))
        said.append(f"`{one.name}` ({text})" if text else f"`{one.name}`")
    given = [f"`{line.replace('127.0.0.1 {sorry}', 'S')}`" for line in options.split("\n") if line]
    what = "a group" if case.group else "servers"
    return f"{what.capitalize()}: {', '.join(said)}" + (f"; {', '.join(given)}" if given else "")


def _moment(case: Case, index: int) -> str:
    step: Step = case.steps[index]
    words = [step.live or "nobody"]
    if index and (step.options is not None or step.servers is not None):
        words.append(f"reload: {_setting(case, index)}")
    if step.here is not None:
        words.append("the address is here" if step.here else "the address is elsewhere")
    return "; ".join(words)


def _code(outcome: str) -> str:
    return f"`{outcome.strip()}`" if outcome.strip() else "nobody"
