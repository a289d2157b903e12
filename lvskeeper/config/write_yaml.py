"""Directives written down as YAML: what :mod:`lvskeeper.config.yaml_source` reads."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, final

import yaml

from lvskeeper.config.comments import Remarks, lines_of
from lvskeeper.config.keyword import Keyword, Status
from lvskeeper.config.keywords import BLOCKS, ENTRY_BLOCKS, ROOT
from lvskeeper.config.tree import Directive
from lvskeeper.config.value_type import Kind
from lvskeeper.config.values import command
from lvskeeper.config.yaml_source import CHECKS, HEADS, PLURALS

INDENT: Final = "  "

_PLURAL_OF: Final = {name: plural for plural, name in PLURALS.items()}
_PLAIN: Final = re.compile(
    r"(?:[A-Za-z0-9_/.$^(+\\]|-(?=[^\s-]))(?:[A-Za-z0-9_/.+%=@^$*()?<>|;~&',\\-]|:(?=[^\s]))*"
)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?")
_NUMBERISH: Final = re.compile(
    r"[-+]?(?:0[xo][0-9a-fA-F]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
"""What YAML 1.2 takes for a number, and 1.1 partly not."""
_FLAGS: Final = frozenset({"yes", "no", "on", "off", "true", "false"})
_STRING: Final = "tag:yaml.org,2002:str"
_ODD: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_RESOLVER: Final = yaml.SafeLoader("")


def write_yaml(directives: Sequence[Directive], remarks: Remarks) -> str:
    """Return *directives* as YAML."""
    writer = _Writer(remarks)
    writer.top(remarks.head)
    writer.mapping(directives, ROOT, "")
    writer.comments(remarks.foot.get(0, ()), "")
    return "\n".join([*writer.lines, ""])


@final
class _Writer:
    def __init__(self, remarks: Remarks) -> None:
        self.remarks = remarks
        self.lines: list[str] = []

    def comments(self, texts: Sequence[str], pad: str) -> None:
        self.lines += [f"{pad}#{_ODD.sub(' ', text)}" for text in texts]

    def top(self, texts: Sequence[str]) -> None:
        self.comments(texts, "")
        if texts:
            self.lines.append("")

    def before(self, one: Directive, pad: str) -> None:
        self.comments(self.remarks.before.get(id(one), ()), pad)

    def beside(self, one: Directive) -> str:
        text = self.remarks.beside.get(id(one))
        return "" if text is None else f" #{_ODD.sub(' ', text)}"

    def mapping(self, directives: Sequence[Directive], block: str, pad: str) -> None:
        """Write the contents of a block: what belongs to one key together, where it is first."""
        table = BLOCKS.get(block, {})
        left_out = self.remarks.left_out
        mixed = block == "real_server" and _mixed(
            [one for one in directives if id(one) not in left_out]
        )
        groups: dict[str, list[Directive]] = {}
        for one in directives:
            name = one.words[0]
            keyword = table.get(name)
            if keyword is None or id(one) in left_out or _is_odd(one, keyword):
                self.skipped(one, pad)
                continue
            key = CHECKS if mixed and keyword.key == CHECKS else _ALIASES.get(name, name)
            if name in _ADDING and key in groups:
                groups[key] = [_added(groups[key][0], one, self.remarks)]
                continue
            if keyword.read is command and key in groups:
                continue  # of commands the first one counts
            if not keyword.block and not keyword.many and key in groups:
                # The later one counts, and it counts where it stands.
                (earlier,) = groups.pop(key)
                self.remarks.before.setdefault(id(one), [])[:0] = [
                    *self.remarks.before.get(id(earlier), ()),
                    *filter(None, [self.remarks.beside.get(id(earlier))]),
                ]
            groups.setdefault(key, []).append(one)
        for number, (key, group) in enumerate(groups.items()):
            if block == ROOT and number:
                self.lines.append("")
            if key == CHECKS and mixed:
                self.checks(group, pad)
            else:
                self.key(key, group, table[key], block, pad)

    def skipped(self, one: Directive, pad: str) -> None:
        """Write a block that is passed over as a comment: its form is not known."""
        self.before(one, pad)
        self.comments([*lines_of(one)], pad)

    def key(self, key: str, group: list[Directive], keyword: Keyword, block: str, pad: str) -> None:
        """Write one key with all that belongs to it."""
        inner = pad + INDENT
        if block == ROOT and key in ENTRY_BLOCKS:
            self.lines.append(f"{pad}{_PLURAL_OF.get(key, key)}:")
            for one in group:
                self.before(one, inner)
                name = _scalar(one.words[1], flag=False)
                self.entries(f"{inner}{name}:", [one], inner + INDENT)
        elif keyword.entries is not None:
            for one in group:
                self.before(one, pad)
            self.entries(f"{pad}{key}:", group, inner)
        elif keyword.block:
            self.blocks(key, group, pad)
        else:
            for one in group:
                self.before(one, pad)
            value = (
                f"[{', '.join(_flow(one) for one in group)}]"
                if len(group) > 1
                else _value(group[0], keyword)
            )
            self.lines.append(f"{pad}{key}: {value}{self.beside(group[-1])}")

    def entries(self, key: str, group: list[Directive], pad: str) -> None:
        """Write blocks of entries as one list behind *key*."""
        items = [entry for one in group for entry in one.children or ()]
        empty = "" if {id(entry) for entry in items} - self.remarks.left_out else " []"
        self.lines.append(f"{key}{empty}{self.beside(group[0])}")
        for entry in items:
            self.before(entry, pad)
            if id(entry) in self.remarks.left_out:
                self.comments([*lines_of(entry)], pad)
                continue
            text = _plain_words(entry.words)
            if not text:
                text = _flow(entry, 0) if len(entry.words) > 1 else _quoted(entry.words[0])
            self.lines.append(f"{pad}- {text}{self.beside(entry)}")
        for one in group:
            self.comments(self.remarks.foot.get(id(one), ()), pad)

    def blocks(self, name: str, group: list[Directive], pad: str) -> None:
        """Write blocks that hold keywords: a mapping, or a list of them."""
        inner = pad + INDENT
        if name not in _PLURAL_OF and name not in HEADS and len(group) == 1:
            (one,) = group
            self.before(one, pad)
            self.body(f"{pad}{name}:", one, name, inner)
            return
        self.lines.append(f"{pad}{_PLURAL_OF.get(name, name)}:")
        for one in group:
            self.before(one, inner)
            self.item(one, name, inner)

    def body(self, key: str, one: Directive, name: str, pad: str) -> None:
        """Write the mapping of a block behind *key*."""
        start = len(self.lines)
        self.lines.append(key)
        self.mapping(one.children or (), name, pad)
        said = any(not line.lstrip().startswith("#") for line in self.lines[start + 1 :])
        self.lines[start] = f"{key}{'' if said else ' {}'}{self.beside(one)}"
        self.comments(self.remarks.foot.get(id(one), ()), pad)

    def item(self, one: Directive, name: str, pad: str) -> None:
        """Write a block as an item of a list; the words of its own line are keys of it."""
        inner = pad + INDENT
        heads = [f"{key}: {_scalar(word, flag=False)}" for key, word in _heads(one, name)]
        if not heads:
            self.headless(one, name, pad)
            return
        self.lines.append(f"{pad}- {heads[0]}{self.beside(one)}")
        self.lines += [f"{inner}{head}" for head in heads[1:]]
        self.mapping(one.children or (), name, inner)
        self.comments(self.remarks.foot.get(id(one), ()), inner)

    def headless(self, one: Directive, name: str, pad: str) -> None:
        """Write a block as an item that begins with whatever it holds first."""
        start = len(self.lines)
        self.body(f"{pad}-", one, name, pad + INDENT)
        first = self.lines[start + 1].lstrip() if start + 1 < len(self.lines) else "#"
        if self.lines[start] == f"{pad}-" and not first.startswith("#"):
            self.lines[start : start + 2] = [f"{pad}- {first}"]

    def checks(self, group: list[Directive], pad: str) -> None:
        """Write checks of several kinds in their order."""
        inner = pad + INDENT
        self.lines.append(f"{pad}{CHECKS}:")
        for one in group:
            self.before(one, inner)
            self.body(f"{inner}- {one.words[0]}:", one, one.words[0], inner + 2 * INDENT)


_ALIASES: Final = {"vrrp_track_file": "track_file"}
"""Names of blocks that go into one list with others, so that their order is kept."""


def _is_odd(one: Directive, keyword: Keyword) -> bool:
    """Whether a directive is passed over, and has a form that YAML has no keys for."""
    if keyword.status is Status.SERVED:
        return False
    return keyword.block and len(one.words) > 1 and one.words[0] not in HEADS


_ADDING: Final = frozenset({"global_defs", "SSL", "state_sync", "ipvs_sysctls"})
"""Blocks of which every mention adds to the ones before."""


def _added(first: Directive, more: Directive, remarks: Remarks) -> Directive:
    """Return both blocks as one, which has their comments."""
    one = Directive(first.words, first.source, first.line)
    one.children = [*(first.children or ()), *(more.children or ())]
    for told in (remarks.before, remarks.foot):
        told[id(one)] = [*told.get(id(first), ()), *told.get(id(more), ())]
    beside = [text for part in (first, more) if (text := remarks.beside.get(id(part)))]
    if beside:
        remarks.beside[id(one)] = ";".join(beside)
    remarks.made.append(one)
    return one


def _mixed(directives: Sequence[Directive]) -> bool:
    """Whether checks of one kind stand apart, so that mappings would change their order."""
    table = BLOCKS["real_server"]
    kinds = [
        one.words[0]
        for one in directives
        if (keyword := table.get(one.words[0])) is not None and keyword.key == CHECKS
    ]
    runs = [kind for kind, _ in groupby(kinds)]
    return len(runs) > len(set(runs))


def _heads(one: Directive, name: str) -> Iterator[tuple[str, str]]:
    """Yield what stands on the line of a block, as keys and values."""
    match one.words:
        case [_, ("fwmark" | "group") as form, word, *_] if name == "virtual_server":
            yield form, word
        case _:
            heads = HEADS.get(name, ())
            yield from zip((key for key in heads if key not in _FORMS), one.words[1:], strict=False)


_FORMS: Final = frozenset({"fwmark", "group"})


def _value(one: Directive, keyword: Keyword) -> str:
    words = one.words[1:]
    flag = keyword.type is not None and keyword.type.kind is Kind.FLAG
    if not words:
        return "yes" if flag else "~"
    if len(words) == 1:
        word = words[0]
        if keyword.whole and " " in word and _plain_words(word.split(" ")) == word:
            return word
        return _scalar(word, flag=flag)
    return ("" if keyword.whole else _plain_words(words)) or _flow(one)


def _flow(one: Directive, start: int = 1) -> str:
    return f"[{', '.join(_in_flow(word) for word in one.words[start:])}]"


def _in_flow(word: str) -> str:
    return (
        word
        if re.fullmatch(r"[A-Za-z0-9_/.][A-Za-z0-9_/.-]*", word) and _is_text(word, flag=False)
        else _quoted(word)
    )


def _plain_words(words: Sequence[str]) -> str:
    """Return words as one plain value that is split at its blanks, or nothing."""
    if not all(map(_PLAIN.fullmatch, words)):
        return ""
    text = " ".join(words)
    return text if len(words) > 1 or _is_text(text, flag=False) else ""


def _scalar(word: str, *, flag: bool) -> str:
    return word if _PLAIN.fullmatch(word) and _is_text(word, flag=flag) else _quoted(word)


def _is_text(word: str, *, flag: bool) -> bool:
    """Whether other readers of YAML take *word* for a text, a number as written, or a flag."""
    if _NUMBER.fullmatch(word):
        return True
    if _NUMBERISH.fullmatch(word):
        return False
    if word in _FLAGS:
        return flag
    # types-PyYAML gives this method no types
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
    return tag == _STRING


def _quoted(word: str) -> str:
    if "'" not in word and not _ODD.search(word):
        return f"'{word}'"
    return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", json.dumps(word, ensure_ascii=False))
