"""YAML as another spelling of the same directives.

The node tree is walked, not loaded: every scalar stays the text that stands in the file, and the
keyword table types it as it types a word of keepalived.conf. So ``no``, ``010`` and ``1:30`` hold
no surprise, and every diagnostic has its place.

A keyword with its value is a mapping entry, a block is a mapping, blocks of one kind are a list
under the plural of their name. See docs/configuration.md.
"""

import re
from typing import TYPE_CHECKING, Final, TypeAlias, final

import yaml

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import LimitError, error
from lvskeeper.config.include import INCLUDES
from lvskeeper.config.keyword import Keyword
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS, ROOT
from lvskeeper.config.source import Source, Span
from lvskeeper.config.tree import Directive

if TYPE_CHECKING:
    from lvskeeper.config.tree import Parser

Mark: TypeAlias = tuple[int, int, int]

PLURALS: Final = {
    "virtual_servers": "virtual_server",
    "real_servers": "real_server",
    "urls": "url",
    "local_address_groups": "local_address_group",
    "virtual_server_groups": "virtual_server_group",
    "vrrp_instances": "vrrp_instance",
    "vrrp_sync_groups": "vrrp_sync_group",
    "vrrp_scripts": "vrrp_script",
    "vrrp_track_processes": "vrrp_track_process",
    "track_files": "track_file",
    "vrrp_track_files": "vrrp_track_file",
    "track_groups": "track_group",
    "garp_groups": "garp_group",
}
HEADS: Final[dict[str, tuple[str, ...]]] = {
    "virtual_server": ("address", "port", "fwmark", "group"),
    "real_server": ("address", "port"),
    **{
        name: ("name",)
        for name, keyword in BLOCKS[ROOT].items()
        if keyword.block and keyword.least == 2 and keyword.most == 2 and name not in ENTRY_BLOCKS
    },
}
"""Keys of a list item that stand on the block's own line in keepalived.conf."""

CHECKS: Final = "checks"
"""Key of a real server: a list of checks, each a mapping of one key, where their order matters."""

MAX_NODES: Final = 5_000_000
"""Aliases can make a small file stand for a huge tree; this many nodes are walked at most."""

FREE_NODES: Final = 100_000
"""What a file may stand for beside one node a character, which it has without aliases."""

_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
"""What YAML takes plain values for by itself, which is nothing to us."""

MAX_NESTING: Final = 100
"""The C parser recurses without a limit, and would take the process with it."""

_BRACKET: Final = re.compile(r"[\[{\]}]")
_ONE_LINE: Final = re.compile(rf"(?:[-?][ \t]+){{{MAX_NESTING}}}")

# The C parser is eight times faster and not part of every build of PyYAML.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@final
class _ShapeError(Exception):
    """A node has another shape than is needed at its place."""

    def __init__(self, node: yaml.Node, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.message = message
        self.hint = hint


def read_yaml(parser: "Parser", source: Source, into: list[Directive], block: str) -> None:
    """Append the directives of a YAML file to *into*, the contents of *block*."""
    found = parser.tree.diagnostics
    if _too_deep(source.text):
        message = f"values are nested more than {MAX_NESTING} deep"
        found.append(error(Code.YAML_SHAPE, Span(source, 1, 1), message))
        return
    try:
        node = yaml.compose(source.text, Loader=_LOADER)
    except yaml.MarkedYAMLError as failure:
        found.append(
            error(Code.YAML_SYNTAX, _place(failure, source), f"not YAML: {_reason(failure)}")
        )
        return
    except (yaml.YAMLError, RecursionError) as failure:
        odd = yaml.reader.Reader.NON_PRINTABLE.search(source.text)
        if odd is not None:
            line = source.text.count("\n", 0, odd.start())
            column = odd.start() - source.text.rfind("\n", 0, odd.start())
            message = f"not YAML: the control character U+{ord(odd[0]):04X}"
            hint = f"in double quotes it is written as \\x{ord(odd[0]):02x}"
            found.append(error(Code.YAML_SYNTAX, Span(source, line + 1, column), message, hint))
            return
        reason = " ".join(str(failure).split()) or "nested too deep"
        found.append(error(Code.YAML_SYNTAX, Span(source, 1, 1), f"not YAML: {reason}"))
        return
    if node is None:
        return
    walk = _Walk(parser, source)
    try:
        into += walk.mapping(node, block)
    except _ShapeError as bad:
        walk.report(bad)
    except RecursionError:
        found.append(error(Code.YAML_SHAPE, Span(source, 1, 1), "values are nested too deep"))


def _reason(failure: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (failure.problem, failure.context) if part]
    return ", ".join(parts)


def _place(failure: yaml.MarkedYAMLError, source: Source) -> Span:
    """Return where the parser stumbled; of what is never closed, where it begins."""
    mark = failure.problem_mark or failure.context_mark
    if (
        mark is not None
        and failure.context_mark is not None
        and "end of stream" in (failure.problem or "")
    ):
        mark = failure.context_mark
    return Span(source, mark.line + 1, mark.column + 1) if mark else Span(source, 1, 1)


def _too_deep(text: str) -> bool:
    """Whether the parser should not see *text*; brackets in quotes count too, which is no harm."""
    depth = 0
    for match in _BRACKET.finditer(text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > MAX_NESTING:
            return True
    return _ONE_LINE.search(text) is not None


@final
class _Walk:
    """Turns nodes into directives."""

    def __init__(self, parser: "Parser", source: Source) -> None:
        self.parser = parser
        self.source = source
        self.nodes = 0
        self.most = min(MAX_NODES, FREE_NODES + len(source.text))
        self.inside: set[int] = set()

    def report(self, bad: _ShapeError) -> None:
        """Add the diagnostic for a node of the wrong shape."""
        line, column, length = self.mark(bad.node)
        span = Span(self.source, line, column, length)
        self.parser.tree.diagnostics.append(error(Code.YAML_SHAPE, span, bad.message, bad.hint))

    def mark(self, node: yaml.Node) -> Mark:
        """Return the place of a node, cut at the end of its first line."""
        start, end = node.start_mark, node.end_mark
        line = self.line(start.line)
        stop = end.column if end.line == start.line else len(line)
        return (start.line + 1, start.column + 1, max(1, stop - start.column))

    def line(self, number: int) -> str:
        """Return a line, counted from 0; YAML knows more line ends than we do."""
        lines = self.source.lines
        return lines[number] if number < len(lines) else ""

    def count(self, node: yaml.Node) -> None:
        """Count one more node against the limit, and refuse a tag."""
        self.nodes += 1
        if self.nodes > self.most:
            line, column, length = self.mark(node)
            message = f"aliases make more than {self.most} values of this file"
            raise LimitError(Span(self.source, line, column, length), message)
        _no_tag(node)

    def pairs(self, node: yaml.Node) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
        """Return the entries of a mapping; a key that is there twice is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise _ShapeError(node, "keywords and their values are needed here: 'keyword: value'")
        seen: set[str] = set()
        found: list[tuple[yaml.ScalarNode, yaml.Node]] = []
        for key, value in node.value:
            self.count(key)
            if not isinstance(key, yaml.ScalarNode):
                self.report(_ShapeError(key, "a keyword is a plain word"))
                continue
            if key.value == "<<" and not key.style:
                hint = "write the keywords out, or put them into a file and include it"
                self.report(_ShapeError(key, "merge keys (<<) are not served", hint))
                continue
            if key.value in seen:
                line, column, length = self.mark(key)
                span = Span(self.source, line, column, length)
                message = f"'{key.value}' is given twice in this mapping"
                self.parser.tree.diagnostics.append(error(Code.YAML_DUPLICATE, span, message))
                continue
            seen.add(key.value)
            found.append((key, value))
        return found

    def mapping(self, node: yaml.Node, block: str) -> list[Directive]:
        """Return the directives of a block."""
        if _is_null(node):
            return []
        if id(node) in self.inside:
            raise _ShapeError(node, "an alias that holds itself")
        self.inside.add(id(node))
        found: list[Directive] = []
        for key, value in self.pairs(node):
            try:
                self.entry(key, value, block, found)
            except _ShapeError as bad:
                self.report(bad)
        self.inside.discard(id(node))
        return found

    def entry(
        self,
        key: yaml.ScalarNode,
        value: yaml.Node,
        block: str,
        found: list[Directive],
    ) -> None:
        """Append the directives of one entry of a mapping to *found*, those of includes too."""
        name = str(PLURALS.get(key.value, key.value))
        if name in INCLUDES:
            self.includes(key, value, block, found)
            return
        if name in ENTRY_BLOCKS and block == ROOT:
            found += self.groups(value, name)
            return
        if key.value in PLURALS and _is_null(value):
            return
        if name == CHECKS and block == "real_server":
            self.checks(value, found)
            return
        keyword = BLOCKS.get(block, {}).get(name)
        if keyword is not None and keyword.entries is not None:
            mark = self.mark(key)
            holder = Directive([name], self.source, mark[0], marks=[mark])
            holder.children = self.entries(value)
            found.append(holder)
            return
        if (keyword is not None and keyword.block) or _has_mapping(value):
            for item in _items(value):
                try:
                    found.append(self.block(key, item, name))
                except _ShapeError as bad:
                    self.report(bad)
            return
        self.plain(key, value, keyword, found)

    def plain(
        self,
        key: yaml.ScalarNode,
        value: yaml.Node,
        keyword: Keyword | None,
        found: list[Directive],
    ) -> None:
        """Append a keyword with its words; a list of lists stands for one that is repeated."""
        name = str(key.value)
        several = keyword is not None and keyword.many and _holds_lists(value)
        for item in _items(value) if several else [value]:
            words, marks = self.words(item, whole=keyword is not None and keyword.whole)
            directive = Directive([name, *words], self.source, key.start_mark.line + 1)
            directive.marks = [self.mark(key), *marks]
            found.append(directive)

    def includes(
        self, key: yaml.ScalarNode, value: yaml.Node, block: str, found: list[Directive]
    ) -> None:
        """Append the directives of the files that an include names."""
        for item in _items(value):
            words, marks = self.words(item, whole=True)
            if not words or not words[0]:
                raise _ShapeError(key, f"{key.value} needs a file name")
            include = Directive([key.value, *words], self.source, 1)
            include.marks = [self.mark(key), *marks]
            self.parser.include(include, words[0], found, block)

    def checks(self, node: yaml.Node, found: list[Directive]) -> None:
        """Append the checks of a list of mappings, in its order."""
        for item in () if _is_null(node) else _items(node):
            if not isinstance(item, yaml.MappingNode):
                raise _ShapeError(item, "a check is needed here: '- TCP_CHECK: {}'")
            for one in self.mapping(item, "real_server"):
                if one.children is None:
                    message = f"'{one.words[0]}' is no check"
                    raise _ShapeError(item, message, "it belongs to the keys of the real server")
                found.append(one)

    def words(self, node: yaml.Node, *, whole: bool) -> tuple[list[str], list[Mark]]:
        """Return the words of a value and their places."""
        if _is_null(node):
            return [], []
        words: list[str] = []
        marks: list[Mark] = []
        _no_tag(node)
        for item in _items(node):
            self.count(item)
            if not isinstance(item, yaml.ScalarNode):
                raise _ShapeError(item, "a value is needed here, not a list or a mapping")
            split = not item.style and not whole and item is node
            pieces = item.value.split() if split else [item.value]
            line, column, length = self.mark(item)
            text, at = self.line(line - 1), column - 1
            for piece in pieces:
                if len(pieces) > 1 and (start := text.find(piece, at)) >= 0:
                    marks.append((line, start + 1, len(piece)))
                    at = start + len(piece)
                else:
                    marks.append((line, column, length))
                words.append(piece)
        return words, marks

    def block(self, key: yaml.ScalarNode, node: yaml.Node, name: str) -> Directive:
        """Return a block; the words of its own line come from the keys in :data:`HEADS`."""
        directive = Directive([name], self.source, node.start_mark.line + 1)
        at = self.mark(key)
        heads = HEADS.get(name, ())
        if heads and isinstance(node, yaml.MappingNode):
            at = self.mark(node.value[0][0]) if node.value else at
        directive.marks = [at]
        if heads:
            self.head(directive, node, heads)
        directive.children = [
            child for child in self.mapping(node, name) if child.words[0] not in heads
        ]
        return directive

    def head(self, directive: Directive, node: yaml.Node, heads: tuple[str, ...]) -> None:
        """Put address and port, or fwmark, or group behind the keyword."""
        assert directive.marks is not None
        if not isinstance(node, yaml.MappingNode):
            raise _ShapeError(node, f"'{directive.words[0]}' needs a mapping")
        # What is wrong with the keys themselves is told when the block is read.
        given = {
            key.value: value
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode) and key.value in heads
        }
        forms = (("fwmark",), ("group",), ("name",), ("address", "port"))
        form = next((form for form in forms if form[0] in given), None)
        if form is None and len(heads) == 1:
            hint = f"each {directive.words[0]} is a mapping with a name: '- name: ...'"
            raise _ShapeError(node, f"'{heads[0]}' is missing", hint)
        if form is None:
            raise _ShapeError(node, f"one of {', '.join(heads)} is needed here")
        odd = next((name for name in given if name not in form), None)
        if odd is not None:
            raise _ShapeError(given[odd], f"'{odd}' does not go with '{form[0]}'")
        for name in form:
            if name not in given:
                continue
            words, marks = self.words(given[name], whole=True)
            if name in {"fwmark", "group"}:
                words, marks = [name, *words], [directive.marks[0], *marks]
            directive.words = [*directive.words, *words]
            directive.marks += marks

    def groups(self, node: yaml.Node, name: str) -> list[Directive]:
        """Return the groups of a mapping from names to lists of entries."""
        found: list[Directive] = []
        for key, value in self.pairs(node):
            mark = self.mark(key)
            group = Directive([name, key.value], self.source, mark[0])
            group.marks = [mark, mark]
            group.children = self.entries(value)
            found.append(group)
        return found

    def entries(self, node: yaml.Node) -> list[Directive]:
        """Return the entries of a list, or the one entry that stands for it."""
        found: list[Directive] = []
        for item in () if _is_null(node) else _items(node):
            entry = Directive([], self.source, item.start_mark.line + 1)
            entry.words, entry.marks = self.words(item, whole=False)
            if entry.words:
                found.append(entry)
        return found


def _no_tag(node: yaml.Node) -> None:
    """Refuse what has a tag of its own: it asks for a type that no keyword has."""
    if node.tag not in _TAGS:
        told = node.tag.removeprefix("tag:yaml.org,2002:")
        hint = "leave it out: every value is read as its keyword says"
        raise _ShapeError(node, f"the tag '{told}' is not served", hint)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in {"", "~", "null"}


def _items(node: yaml.Node) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else [node]


def _holds_lists(node: yaml.Node) -> bool:
    """Whether a value is a list of lists: a keyword that is given several times."""
    items = _items(node)
    return bool(items) and all(isinstance(item, yaml.SequenceNode) for item in items)


def _has_mapping(node: yaml.Node) -> bool:
    return any(isinstance(item, yaml.MappingNode) for item in _items(node))
