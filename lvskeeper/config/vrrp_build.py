"""From the tree to the VRRP half of the model."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.codes import Code
from lvskeeper.config.keyword import Keyword
from lvskeeper.config.keywords import BLOCKS, ROOT
from lvskeeper.config.tree import Directive
from lvskeeper.config.vrrp_keywords import NAMED
from lvskeeper.config.vrrp_model import VrrpConfig
from lvskeeper.vrrp.auth_hmac import MAX_SECRET, MIN_SECRET

if TYPE_CHECKING:
    from lvskeeper.config.build import Builder
    from lvskeeper.config.source import Files

_REQUIRED: Final = {
    "vrrp_script": ("script", 'script "/path/command"'),
    "vrrp_track_process": ("process", "process /path/command"),
    "track_file": ("file", 'file "/path"'),
    "vrrp_track_file": ("file", 'file "/path"'),
}
_TRACKED: Final = ("track_interface", "track_script", "track_file", "track_process")


@final
@dataclass(slots=True)
class VrrpOrigin:
    """Where the items of the VRRP half come from, in the order of the model."""

    globals: list[Directive]
    """The ``global_defs`` blocks."""
    items: dict[str, list[Directive]] = field(default_factory=dict)
    """By the field of the model."""
    names: dict[str, set[str]] = field(default_factory=dict)
    """Names that are defined, if only by a block that was refused."""

    def of(self, key: str) -> list[Directive]:
        """Return the places of the items of the field *key*."""
        return self.items.get(key, [])


@final
class VrrpBuilder:
    """Reads the blocks of the VRRP half; keywords are read by the builder it belongs to."""

    def __init__(self, builder: "Builder", files: "Files") -> None:
        self.builder = builder
        self.files = files
        self.origin = VrrpOrigin(builder.origin.globals)
        self.values: dict[str, object] = {}
        self.lists: dict[str, list[object]] = {}

    def add(self, directive: Directive, keyword: Keyword) -> None:
        """Read a block of the top level."""
        if keyword.entries is not None:
            known = self.lists.setdefault(keyword.key, [])
            known += entries(self.builder, directive, keyword)
            self.origin.items.setdefault(keyword.key, []).append(directive)
            return
        before = self.builder.errors
        head = self.head(directive, keyword)
        values = self.block(directive, keyword.name)
        if head is None:
            return
        missing, hint = _REQUIRED.get(keyword.name, ("", ""))
        if missing and missing not in values:
            # What was given and refused has been told.
            if self.builder.errors == before:
                message = f"a {keyword.name} needs a {missing}"
                self.builder.error(Code.REQUIRED, directive, 0, message, f"add: {hint}")
            return
        self.lists.setdefault(keyword.key, []).append({**head, **values})
        self.origin.items.setdefault(keyword.key, []).append(directive)
        if self.builder.errors > before:
            self.builder.origin.spoilt.add(directive)

    def add_globals(
        self, blocks: Sequence[tuple[Directive, Keyword]], given: dict[str, object]
    ) -> None:
        """Read the *blocks* within a ``global_defs`` into *given*."""
        for block, keyword in blocks:
            known = given.get(keyword.key, ())
            assert isinstance(known, tuple)
            given[keyword.key] = (*known, *entries(self.builder, block, keyword))

    def head(self, directive: Directive, keyword: Keyword) -> dict[str, object] | None:
        """Read the name of a block; one that is there already is told."""
        if keyword.name not in NAMED:
            return {}
        head = self.builder.head(directive, BLOCKS[ROOT][keyword.name])
        if head is None:
            return None
        for other in self.origin.of(keyword.key):
            if other.words[1] == directive.words[1]:
                message = f"the {keyword.name} '{directive.words[1]}' is defined twice"
                hint = f"first at {other.span(1)}"
                self.builder.error(Code.SAME_NAME, directive, 1, message, hint)
                return None
        self.origin.names.setdefault(keyword.key, set()).add(directive.words[1])
        return head

    def block(self, directive: Directive, name: str) -> dict[str, object]:
        """Read the contents of a block."""
        values: dict[str, object] = {}
        lists: dict[str, list[object]] = {}
        inner: dict[str, dict[str, object]] = {}
        for child, keyword in self.builder.block(name, directive.children or (), values):
            if keyword.entries is not None:
                known = lists.setdefault(keyword.key, [])
                known += entries(self.builder, child, keyword)
                if keyword.name in _TRACKED:
                    self.twice(child, known)
                continue
            read = self.block(child, keyword.name)
            if keyword.name == "auth_hmac":
                self.secrets(child, read)
            elif "auth_pass" in read:
                self.builder.clear_text(place_of_secret(child, "auth_pass"))
            inner.setdefault(keyword.key, {}).update(read)
        return {**values, **{key: tuple(items) for key, items in lists.items()}, **inner}

    def twice(self, directive: Directive, tracked: list[object]) -> None:
        """Report names that a block of tracked things has twice; the later one counts."""
        seen: dict[str, Directive] = {}
        for entry in directive.children or ():
            if entry.words[0] in seen:
                message = f"'{entry.words[0]}' is tracked twice; this one counts"
                self.builder.warn(Code.TWICE, entry, 0, message)
            seen[entry.words[0]] = entry
        last = {one["name"]: one for one in tracked if isinstance(one, dict)}
        tracked[:] = last.values()

    def secrets(self, directive: Directive, values: dict[str, object]) -> None:
        """Read the files of keys, and see to it that every key has its length."""
        lines = [child for child in directive.children or () if child.words[0] == "key"]
        keys = values.get("keys", ())
        assert isinstance(keys, tuple)
        if len(lines) != len(keys):
            return  # one of them was refused and told
        read = []
        for line in lines:
            if not line.words[2].startswith("file:"):
                self.builder.clear_text(line)
                break
        for line, key in zip(lines, keys, strict=True):
            secret = self.key_file(line, key["file"]) if "file" in key else key["secret"]
            if secret is None:
                continue
            if not MIN_SECRET <= len(secret) <= MAX_SECRET:
                message = f"key {key['id']} has {len(secret)} bytes"
                hint = f"{MIN_SECRET} to {MAX_SECRET} bytes are needed: openssl rand -hex 32"
                self.builder.error(Code.HMAC, line, 2, message, hint)
            read.append({"id": key["id"], "secret": secret})
        values["keys"] = tuple(read)

    def key_file(self, line: Directive, name: str) -> bytes | None:
        """Return the secret in a file, without the line end behind it."""
        path = posixpath.join(posixpath.dirname(line.source.path), name)
        try:
            text = self.files.read_text(path)
            exposed = self.files.exposed(path)
        except OSError as failure:
            reason = failure.strerror or str(failure)
            self.builder.error(Code.UNREADABLE, line, 2, f"cannot read {path}: {reason}")
            return None
        if exposed:
            message = f"others than its owner can read or write {path}"
            self.builder.error(Code.EXPOSED_KEY, line, 2, message, f"chmod 600 {path}")
        if "\ufffd" in text:
            message = f"{path} is not text"
            self.builder.error(Code.HMAC, line, 2, message, "write bytes as hex:DIGITS")
            return None
        text = text.rstrip("\r\n")
        kind, colon, digits = text.partition(":")
        if not (colon and kind == "hex"):
            return text.encode()
        try:
            return bytes.fromhex(digits)
        except ValueError:
            message = f"what follows hex: in {path} is not hexadecimal"
            self.builder.error(Code.HMAC, line, 2, message)
            return None

    def finish(self, given: dict[str, object]) -> VrrpConfig:
        """Return the model; *given* is what ``global_defs`` says of VRRP."""
        values = {key: tuple(items) for key, items in self.lists.items()}
        return VrrpConfig.model_validate({"globals": given, **values})


def place_of_secret(block: Directive, name: str) -> Directive:
    """Return the last line *name* of a block."""
    return next(line for line in reversed(block.children or ()) if line.words[0] == name)


def entries(builder: "Builder", directive: Directive, keyword: Keyword) -> list[object]:
    """Read the entries of a block."""
    assert keyword.entries is not None
    found: list[object] = []
    for entry in directive.children or ():
        if entry.children is not None:
            message = f"an entry of '{keyword.name}' takes no block"
            builder.error(Code.BLOCK, entry, 0, message)
            continue
        try:
            read = keyword.entries(entry.words)
        except BadValueError as bad:
            builder.bad(entry, bad, keyword.name)
            continue
        if isinstance(read, list):
            found += read
        else:
            found.append(read)
    return found
