"""From the tree to the model: every keyword is looked up, every value read, every error kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.check_build import read_check
from lvskeeper.config.check_model import TcpCheck
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, LimitError
from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS, ROOT
from lvskeeper.config.model import Config
from lvskeeper.config.source import Files
from lvskeeper.config.teller import Script, Teller
from lvskeeper.config.tree import Directive, Tree
from lvskeeper.config.vrrp_keywords import GLOBAL_KEYS, ROOT_NAMES

if TYPE_CHECKING:
    from lvskeeper.config.vrrp_build import VrrpBuilder, VrrpOrigin


@final
@dataclass(slots=True)
class Origin:
    """Where the items of the model come from, in the order of the model."""

    globals: list[Directive] = field(default_factory=list)
    """The ``global_defs`` blocks."""
    local_address_groups: list[Directive] = field(default_factory=list)
    virtual_server_groups: list[Directive] = field(default_factory=list)
    virtual_servers: list[Directive] = field(default_factory=list)
    real_servers: list[list[Directive]] = field(default_factory=list)
    """One list for each virtual server."""
    vrrp: "VrrpOrigin | None" = None
    state_sync: Directive | None = None
    spoilt: set[Directive] = field(default_factory=set)
    """Items with errors of their own: judging them further would report one cause twice."""


@final
@dataclass(slots=True)
class Built:
    """What a tree came to. With errors among the diagnostics the model is only a guess."""

    config: Config
    origin: Origin
    diagnostics: list[Diagnostic]
    wrong: set[Directive]
    """What the errors are about."""
    scripts: list[Script]


def build(tree: Tree, files: Files) -> Built:
    """Read the directives of *tree* into a model, and report all that is wrong with them.

    *files* is asked for the keys that a configuration keeps in files of their own.
    """
    builder = Builder(files)
    try:
        values = builder.root(tree.directives)
        builder.finish()
    except LimitError as limit:
        values = {}
        builder.diagnostics.append(limit.diagnostic)
    return Built(Config.model_validate(values), builder.origin, builder.diagnostics, builder.wrong,
                 builder.scripts)  # fmt: skip


@final
class Builder(Teller):
    """Reads blocks by the keyword table, and keeps what is wrong with them."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self.origin = Origin()
        self.noted: dict[tuple[str, str], list[Directive]] = {}
        self.checks: dict[tuple[tuple[object, ...], ...], TcpCheck] = {}

    def root(self, directives: Sequence[Directive]) -> dict[str, object]:
        """Read the outermost block."""
        values: dict[str, object] = {}
        given: dict[str, object] = {}
        lists: dict[str, list[object]] = {}
        vrrp: VrrpBuilder | None = None
        for directive, keyword in self.block(ROOT, directives, values):
            if keyword.name in ROOT_NAMES:
                vrrp = vrrp or self.vrrp()
                vrrp.add(directive, keyword)
                continue
            if keyword.name == "global_defs":
                vrrp = self.global_defs(directive, given, vrrp)
                continue
            if keyword.name == "SSL":
                files = values.setdefault("ssl", {})
                assert isinstance(files, dict)
                self.block("SSL", directive.children or (), files)
                for line in directive.children or ():
                    if line.words[0] == "password":
                        self.clear_text(line)
                continue
            if keyword.name == "state_sync":
                self.state_sync(directive, values)
                continue
            item = (
                self.virtual_server(directive)
                if keyword.name == "virtual_server"
                else self.group(directive, keyword.name)
            )
            if item is not None:
                lists.setdefault(keyword.key, []).append(item)
        if vrrp is not None:
            of_vrrp = {key: given.pop(key) for key in GLOBAL_KEYS & given.keys()}
            values["vrrp"] = vrrp.finish(of_vrrp)
            self.origin.vrrp = vrrp.origin
        values["global_defs"] = given
        values.update({name: tuple(items) for name, items in lists.items()})
        return values

    def state_sync(self, directive: Directive, values: dict[str, object]) -> None:
        """Read the ``state_sync`` block; a second one adds to the first, as ``global_defs``."""
        before = self.errors
        given = values.setdefault("state_sync", {})
        assert isinstance(given, dict)
        self.block("state_sync", directive.children or (), given)
        self.origin.state_sync = directive
        if self.errors > before:
            self.origin.spoilt.add(directive)

    def vrrp(self) -> "VrrpBuilder":
        """Return who reads the VRRP half; files without one pay nothing for it."""
        from lvskeeper.config.vrrp_build import VrrpBuilder  # noqa: PLC0415 - see above

        return VrrpBuilder(self, self.files)

    def global_defs(
        self, directive: Directive, given: dict[str, object], vrrp: "VrrpBuilder | None"
    ) -> "VrrpBuilder | None":
        """Read a ``global_defs`` block; return who reads the VRRP half if it is needed."""
        self.origin.globals.append(directive)
        blocks = []
        for child, keyword in self.block("global_defs", directive.children or (), given):
            if keyword.name == "ipvs_sysctls":
                known = given.setdefault(keyword.key, {})
                assert isinstance(known, dict)
                self.block(keyword.name, child.children or (), known)
            else:
                blocks.append((child, keyword))
        if vrrp is None and (blocks or not GLOBAL_KEYS.isdisjoint(given)):
            vrrp = self.vrrp()
        if vrrp is not None:
            vrrp.add_globals(blocks, given)
        return vrrp

    def block(
        self, name: str, directives: Sequence[Directive], values: dict[str, object]
    ) -> list[tuple[Directive, Keyword]]:
        """Read the plain keywords of a block into *values*; return its served blocks."""
        table, served = BLOCKS[name], Status.SERVED
        blocks: list[tuple[Directive, Keyword]] = []
        for directive in directives:
            words = directive.words
            keyword = table.get(words[0])
            if keyword is None:
                self.unknown(directive, name)
                continue
            # The usual case of fits(), at a third of its cost.
            usual = (
                keyword.least <= len(words) <= keyword.most
                and keyword.block is (directive.children is not None)
                and keyword.status is served
                and not keyword.instead
            )
            if not usual and not self.fits(directive, keyword, name):
                continue
            if keyword.block:
                blocks.append((directive, keyword))
                continue
            key = keyword.key
            if key in values and not keyword.many and self.twice(directive, keyword):
                continue
            assert keyword.read is not None
            try:
                read = keyword.read(words)
            except BadValueError as bad:
                self.bad(directive, bad)
                continue
            if keyword.many:
                known = values.setdefault(key, ())
                assert isinstance(known, tuple)
                read = (*known, read)
            values[key] = read
            if keyword.bare and values[key] is False and not directive.source.is_yaml:
                self.ignored_word(directive)
            elif keyword.whole:
                self.text(directive, read, values)
        return blocks

    def fits(self, directive: Directive, keyword: Keyword, block: str) -> bool:
        """Tell whether a directive has the form of its keyword; report it where it has not."""
        if keyword.status is Status.REFUSED:
            self.refuse(directive, keyword)
            return False
        count = len(directive.words)
        if count < keyword.least:
            message = f"'{keyword.name}' needs a value: {keyword.name} {keyword.args}"
            self.error(Code.NO_VALUE, directive, 0, message)
            return False
        if keyword.block is not (directive.children is not None):
            self.shape(directive, keyword)
            return False
        if count > keyword.most:
            self.surplus(directive, keyword, block)
        if keyword.status is Status.NOTED:
            self.note(directive, keyword)
            return False
        if keyword.instead:
            message = f"'{keyword.name}' is an old name"
            hint = f"write {keyword.instead}, as keepalived says, too"
            self.warn(Code.OLD_NAME, directive, 0, message, hint)
        return True

    def note(self, directive: Directive, keyword: Keyword) -> None:
        """Read a keyword that nothing acts on: what is wrong with it is told all the same."""
        self.noted.setdefault((keyword.name, keyword.reason), []).append(directive)
        if keyword.read is not None:
            try:
                keyword.read(directive.words)
            except BadValueError as bad:
                self.bad(directive, bad)
        if keyword.entries is not None:
            from lvskeeper.config.vrrp_build import entries  # noqa: PLC0415 - seldom needed

            entries(self, directive, keyword)
        elif keyword.block:
            told = self.noted
            self.noted = {}  # that the block is passed over says it of all within
            self.block(keyword.name, directive.children or (), {})
            self.noted = told

    def head(self, directive: Directive, keyword: Keyword) -> dict[str, object] | None:
        """Read the words of a block's own line."""
        assert keyword.read is not None
        try:
            read = keyword.read(directive.words)
        except BadValueError as bad:
            self.bad(directive, bad)
            return None
        return read if isinstance(read, dict) else {"name": read}

    def group(self, directive: Directive, kind: str) -> dict[str, object] | None:
        """Read a group with its entries."""
        values = self.head(directive, BLOCKS[ROOT][kind])
        if values is None:
            return None
        local = kind == "local_address_group"
        origins = self.origin.local_address_groups if local else self.origin.virtual_server_groups
        for other in origins:
            if other.words[1] == directive.words[1]:
                message = f"the {kind} '{directive.words[1]}' is defined twice"
                self.error(Code.SAME_NAME, directive, 1, message, f"first at {other.span(1)}")
                return None
        origins.append(directive)
        before = self.errors
        values["addresses" if local else "members"] = self.entries(directive, kind)
        if self.errors > before:
            self.origin.spoilt.add(directive)
        return values

    def entries(self, directive: Directive, kind: str) -> tuple[object, ...]:
        """Read the entries of a group."""
        read = ENTRY_BLOCKS[kind]
        most = 3 if kind == "virtual_server_group" else 2
        found: list[object] = []
        for entry in directive.children or ():
            if entry.children is not None:
                self.error(Code.BLOCK, entry, 0, f"an entry of '{kind}' takes no block")
                continue
            if len(entry.words) > (most if entry.words[0] == "fwmark" else 2):
                self.warn(Code.EXTRA, entry, 2, f"'{entry.words[2]}' has no meaning here")
            try:
                found.append(read(entry.words))
            except BadValueError as bad:
                self.bad(entry, bad, kind)
        return tuple(found)

    def virtual_server(self, directive: Directive) -> dict[str, object] | None:
        """Read a virtual server with its real servers."""
        before = self.errors
        values = self.head(directive, BLOCKS[ROOT]["virtual_server"]) or {}
        known = bool(values)
        servers: list[object] = []
        origins: list[Directive] = []
        for child, keyword in self.block("virtual_server", directive.children or (), values):
            inside = self.errors
            server = self.real_server(child, keyword)
            if server is not None:
                servers.append(server)
                origins.append(child)
            if self.errors > inside:
                self.origin.spoilt.add(child)
        if not known:
            return None
        values["real_servers"] = tuple(servers)
        self.origin.virtual_servers.append(directive)
        self.origin.real_servers.append(origins)
        if self.errors > before:
            self.origin.spoilt.add(directive)
        return values

    def real_server(self, directive: Directive, keyword: Keyword) -> dict[str, object] | None:
        """Read a real server with its checks."""
        values = self.head(directive, keyword) or {}
        known = bool(values)
        checks: list[object] = []
        for child, check in self.block("real_server", directive.children or (), values):
            found = self.known_check(child, check.name)
            if found is not None:
                checks.append(found)
        values["checks"] = tuple(checks)
        return values if known else None

    def known_check(self, directive: Directive, kind: str) -> object | None:
        """Read a check; the same words make the same TCP_CHECK, so each is read only once."""
        if kind != "TCP_CHECK":
            return read_check(self, directive, kind)
        words = tuple(
            [(*child.words, child.children is None) for child in directive.children or ()]
        )
        known = self.checks.get(words)
        if known is not None:
            return known
        findings = self.findings()
        values = read_check(self, directive, kind)
        if self.findings() == findings:
            self.checks[words] = TcpCheck.model_validate(values)
        return values

    def findings(self) -> int:
        """Count what there is to tell so far."""
        return len(self.diagnostics) + sum(len(places) for places in self.noted.values())

    def finish(self) -> None:
        """Report what was collected over the whole file: one warning a keyword, not one a line."""
        for (name, reason), places in self.noted.items():
            what = "its block is passed over" if places[0].children is not None else "it is ignored"
            more = f" ({len(places)} places)" if len(places) > 1 else ""
            message = f"'{name}' is not acted on: {what}{more}"
            self.warn(Code.NOTED, places[0], 0, message, reason)
