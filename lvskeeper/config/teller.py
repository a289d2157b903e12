"""What is wrong with directives, as the builder tells it: each finding with its place and cure."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

from lvskeeper.config import values as v
from lvskeeper.config.bad import BadValueError
from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Diagnostic, LimitError, error, warning
from lvskeeper.config.keyword import Keyword
from lvskeeper.config.keywords import BLOCKS, homes, suggest
from lvskeeper.config.source import Files
from lvskeeper.config.tree import Directive
from lvskeeper.config.values import inner_placeholder, is_placeholder

MAX_ERRORS: Final = 1000
"""Most errors of one configuration; to look for what each may mean takes its time."""


@final
@dataclass(frozen=True, slots=True)
class Script:
    """A command that the file names."""

    at: Directive
    command: dict[str, object]
    """Its ``argv``, and ``user`` and ``group`` where they stand behind it."""
    block: dict[str, object]
    """What the block around it says, ``user`` perhaps."""


class Teller:
    """Keeps what is wrong with directives."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.diagnostics: list[Diagnostic] = []
        self.wrong: set[Directive] = set()
        self.scripts: list[Script] = []
        self.clear: set[str] = set()
        """Files whose modes were looked at, as they hold secrets."""
        self.errors = 0
        self.refusals = 0
        """Errors for keywords that are refused: they spoil no block."""

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

    def refuse(self, directive: Directive, keyword: Keyword) -> None:
        """Report a keyword that is refused; what stands around it is judged all the same."""
        before = self.errors
        message = f"'{keyword.name}' is refused"
        self.error(Code.REFUSED, directive, 0, message, keyword.reason)
        self.refusals += self.errors - before
        self.errors = before

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
