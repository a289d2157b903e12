"""From the tree to the model: every keyword is looked up, every value read, every error kept."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from lvskeeper.config import values as v
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.check_build import read_check
from lvskeeper.config.check_model import TcpCheck
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, LimitError, error, warning
from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS, ROOT, homes, suggest
from lvskeeper.config.model import Config
from lvskeeper.config.source import Files
from lvskeeper.config.tree import Directive, Tree
from lvskeeper.config.values import inner_placeholder, is_placeholder
from lvskeeper.config.vrrp_keywords import GLOBAL_KEYS, ROOT_NAMES

if TYPE_CHECKING:
    from lvskeeper.config.vrrp_build import VrrpBuilder, VrrpOrigin

MAX_ERRORS: Final = 1000
"""Most errors of one configuration; to look for what each may mean takes its time."""


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
@dataclass(frozen=True, slots=True)
class Script:
    """A command that the file names."""

    at: Directive
    command: dict[str, object]
    """Its ``argv``, and ``user`` and ``group`` where they stand behind it."""
    block: dict[str, object]
    """What the block around it says, ``user`` perhaps."""


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
class Builder:
    """Reads blocks by the keyword table, and keeps what is wrong with them."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.diagnostics: list[Diagnostic] = []
        self.origin = Origin()
        self.noted: dict[tuple[str, str], list[Directive]] = {}
        self.wrong: set[Directive] = set()
        self.scripts: list[Script] = []
        self.clear: set[str] = set()
        """Files whose modes were looked at, as they hold secrets."""
        self.errors = 0
        self.refusals = 0
        """Errors for keywords that are refused: they spoil no block."""
        self.checks: dict[tuple[tuple[object, ...], ...], TcpCheck] = {}

    def error(
        self, code: Code, directive: Directive, index: int, message: str, hint: str = ""
    ) -> None:
        """Add an error at word *index* of *directive*."""
        self.errors += 1
        self.wrong.add(directive)
        if self.errors + self.refusals > MAX_ERRORS:
            raise LimitError(directive.span(index), f"more than {MAX_ERRORS} errors")
        self.diagnostics.append(error(code, directive.span(index), message, hint))

    def warn(
        self, code: Code, directive: Directive, index: int, message: str, hint: str = ""
    ) -> None:
        """Add a warning at word *index* of *directive*."""
        self.diagnostics.append(warning(code, directive.span(index), message, hint))

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

    def refuse(self, directive: Directive, keyword: Keyword) -> None:
        """Report a keyword that is refused; what stands around it is judged all the same."""
        before = self.errors
        message = f"'{keyword.name}' is refused"
        self.error(Code.REFUSED, directive, 0, message, keyword.reason)
        self.refusals += self.errors - before
        self.errors = before

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

    def bad(self, directive: Directive, bad: BadValueError, name: str = "") -> None:
        """Report a value that a reader refused; *name* is its keyword where it has another."""
        words = directive.words
        word = words[bad.index] if bad.index < len(words) else ""
        if is_placeholder(word) or (inner_placeholder(word) and " " not in word):
            self.placeholder(directive, bad.index)
        else:
            hint = "nothing ends with a ';' here: remove it" if word.endswith(";") else bad.hint
            self.error(
                Code.BAD_VALUE, directive, bad.index, f"{name or words[0]}: {bad.message}", hint
            )

    def clear_text(self, directive: Directive) -> None:
        """Report a secret in a file that others can read; once for each file."""
        path = directive.source.path
        if path in self.clear:
            return
        self.clear.add(path)
        with suppress(OSError):
            if self.files.exposed(path):
                message = f"others than its owner can read {path}, and this secret in it"
                hint = f"chmod 600 {path}"
                if directive.words[0] == "auth_pass":
                    hint += "; PASS also sends it in clear, auth_hmac never does"
                self.warn(Code.CLEAR_PASSWORD, directive, 0, message, hint)

    def ignored_word(self, directive: Directive) -> None:
        """Report a flag that is off here and on in keepalived."""
        name, word = directive.words[:2]
        message = f"keepalived ignores '{word}' and switches {name} on; here it is off"
        hint = f"to have it off in both, remove the line; on in both: {name}"
        self.warn(Code.IGNORED_WORD, directive, 1, message, hint)

    def twice(self, directive: Directive, keyword: Keyword) -> bool:
        """Report a keyword that is given again; return whether the first one counts.

        As in keepalived it does so of commands alone.
        """
        first = keyword.read is v.command
        which = "the first" if first else "this"
        message = f"'{directive.words[0]}' is given twice in this block; {which} one counts"
        self.warn(Code.TWICE, directive, 0, message)
        return first

    def text(self, directive: Directive, read: object, values: dict[str, object]) -> None:
        """Report what may be a slip in a text that can also mean it; keep what is a command."""
        if isinstance(read, dict) and "argv" in read:
            self.scripts.append(Script(directive, read, values))
        found = inner_placeholder(directive.words[1])
        if found:
            message = f"'{found}' is taken literally; no template filled it in"
            self.warn(Code.PLACEHOLDER_PART, directive, 1, message)
        last = len(directive.words) - 1
        if directive.words[last].endswith(";"):
            message = "the ';' is taken as part of the value"
            self.warn(Code.SEMICOLON, directive, last, message)

    def placeholder(self, directive: Directive, index: int) -> None:
        """Report a template's placeholder."""
        word = directive.words[index]
        hint = "it is not defined before this line, or needs its braces here: ${NAME}"
        if not word.startswith("$"):
            hint = "the template that made this file did not know the value"
        elif index == 0 and directive.words[1:2] and directive.words[1].startswith("="):
            hint = f"a definition has no blank before its '=': {word}={directive.words[1][1:]}"
        self.error(Code.PLACEHOLDER, directive, index, f"'{word}' was not filled in", hint)

    def unknown(self, directive: Directive, block: str) -> None:
        """Report a keyword that the block does not have."""
        name = directive.words[0]
        if not name:
            self.error(Code.UNKNOWN, directive, 0, "an empty word is no keyword")
            return
        if name == "{" and directive.span(0).text == "{":
            return  # a stray brace, not a quoted word: the parser has said so
        if is_placeholder(name):
            self.placeholder(directive, 0)
            return
        known = homes(name)
        if known:
            where = f"'{block}'" if block else "the top level"
            homes_named = " or ".join(f"'{home}'" if home else "the top level" for home in known)
            message = f"'{name}' has no meaning in {where}"
            self.error(Code.MISPLACED, directive, 0, message, f"it belongs in {homes_named}")
            return
        close = suggest(name.rstrip(";"), block)
        hint = f"did you mean '{close}'?" if close else ""
        if name.startswith(";"):
            hint = "nothing ends with a ';' here, and a comment begins with # or !"
        before = directive.source.lines[directive.line - 2] if directive.line > 1 else ""
        if before.rstrip().endswith("\\") and not directive.source.is_yaml:
            hint = "the line before ends with a backslash, and lines cannot be continued"
        if directive.children is not None:
            hint = f"{hint} Its block is skipped.".strip()
        self.error(Code.UNKNOWN, directive, 0, f"unknown keyword '{name}'", hint)

    def surplus(self, directive: Directive, keyword: Keyword, block: str) -> None:
        """Report words that keepalived would pass over in silence."""
        words = " ".join(directive.words[keyword.most :])
        hint = f"the form is: {keyword.name} {keyword.args}".rstrip()
        if directive.words[keyword.most] in BLOCKS[block]:
            hint = "every keyword needs a line of its own"
        elif any(word.startswith("'") for word in directive.words):
            hint = 'only double quotes make one word of several: "a b"'
        message = f"'{words}' has no meaning here and is ignored"
        self.warn(Code.EXTRA, directive, keyword.most, message, hint)

    def shape(self, directive: Directive, keyword: Keyword) -> None:
        """Report a block too many or a block that lacks."""
        if keyword.block:
            message = f"'{directive}' needs a block"
            self.error(Code.NO_BLOCK, directive, 0, message, "write { } after it")
        else:
            self.error(Code.BLOCK, directive, 0, f"'{keyword.name}' takes no block")

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
