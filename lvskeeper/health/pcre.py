"""PCRE2, whose syntax keepalived's ``regex`` has, called without the interpreter's lock.

What a search may cost is bounded: the steps from one start, the memory, and by :class:`Search`,
which goes on in pieces, the time. It touches no file, clock or socket.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Final, final

LIBRARY: Final = "libpcre2-8.so.0"
MAX_STEPS: Final = 100_000
"""Steps of a search from one start (``pcre2_set_match_limit``), about a millisecond."""
MAX_HEAP: Final = 16_384
"""KiB that a search may take."""
PIECE: Final = 512
"""Starts that are tried before a search may be given up."""

_NO_UTF_CHECK: Final = 0x4000_0000
_UTF: Final = 0x0008_0000
_USE_OFFSET_LIMIT: Final = 0x0080_0000

OPTIONS: Final = {
    "allow_empty_class": 0x1,
    "alt_bsux": 0x2,
    "auto_callout": 0x4,
    "caseless": 0x8,
    "dollar_endonly": 0x10,
    "dotall": 0x20,
    "dupnames": 0x40,
    "extended": 0x80,
    "firstline": 0x100,
    "match_unset_backref": 0x200,
    "multiline": 0x400,
    "never_ucp": 0x800,
    "never_utf": 0x1000,
    "no_auto_capture": 0x2000,
    "no_auto_possess": 0x4000,
    "no_dotstar_anchor": 0x8000,
    "no_start_optimize": 0x1_0000,
    "ucp": 0x2_0000,
    "ungreedy": 0x4_0000,
    "utf": _UTF,
    "never_backslash_c": 0x10_0000,
    "alt_circumflex": 0x20_0000,
    "alt_verbnames": 0x40_0000,
    "use_offset_limit": _USE_OFFSET_LIMIT,
}
"""``PCRE2_*`` of pcre2.h, by keepalived's words."""

_NO_MATCH: Final = -1


class PcreError(ValueError):
    """The library is not there, a pattern is wrong, or a search had to be given up."""


@final
class Pattern:
    """A compiled pattern; it may be used by several threads at a time."""

    def __init__(self, pattern: str, options: Sequence[str] = ()) -> None:
        """Compile *pattern*; raise :class:`PcreError`."""
        self._library: Final = _load()
        bits = functools.reduce(int.__or__, (OPTIONS[name] for name in options), 0)
        self._utf: Final = bool(bits & _UTF) or pattern.startswith("(*UTF)")
        text = pattern.encode()
        code, offset = ctypes.c_int(), ctypes.c_size_t()
        self._code: int | None = None
        self._code = self._library.pcre2_compile_8(
            text,
            len(text),
            bits | _USE_OFFSET_LIMIT,
            ctypes.byref(code),
            ctypes.byref(offset),
            None,
        )
        if not self._code:
            raise PcreError(f"{self._words(code.value)} (at offset {offset.value})")

    def __del__(self) -> None:
        if getattr(self, "_code", None):
            self._library.pcre2_code_free_8(self._code)

    def search(self, text: bytes, first: int = 0, last: int | None = None) -> "Search":
        """Return the search of *text* for a match that starts from *first* to *last*."""
        return Search(self, text, first, len(text) if last is None else min(last, len(text)))

    def piece(self, text: bytes, first: int, last: int, *, checked: bool) -> bool:
        """Return whether a match starts from *first* to *last*; raise :class:`PcreError`."""
        library = self._library
        data = library.pcre2_match_data_create_8(1, None)
        context = library.pcre2_match_context_create_8(None)
        try:
            if not data or not context:
                raise PcreError("no memory is left")
            library.pcre2_set_match_limit_8(context, MAX_STEPS)
            library.pcre2_set_heap_limit_8(context, MAX_HEAP)
            library.pcre2_set_offset_limit_8(context, last)
            flags = _NO_UTF_CHECK if checked else 0
            found = library.pcre2_match_8(self._code, text, len(text), first, flags, data, context)
        finally:
            library.pcre2_match_context_free_8(context)
            library.pcre2_match_data_free_8(data)
        if found < _NO_MATCH:
            raise PcreError(self._words(found))
        return bool(found != _NO_MATCH)

    def align(self, text: bytes, offset: int) -> int:
        """Return *offset*, or the start of the next character where it is within one."""
        while self._utf and offset < len(text) and text[offset] & 0xC0 == 0x80:
            offset += 1
        return offset

    def _words(self, code: int) -> str:
        buffer = ctypes.create_string_buffer(256)
        self._library.pcre2_get_error_message_8(code, buffer, len(buffer))
        return buffer.value.decode(errors="replace")


@final
class Search:
    """A search that goes on piece by piece."""

    def __init__(self, pattern: Pattern, text: bytes, first: int, last: int) -> None:
        self._pattern = pattern
        self._text = text
        self._next = pattern.align(text, first)
        self._last = last
        self._checked = False

    def step(self) -> bool | None:
        """Search on; return whether there is a match, or ``None`` where it is not known yet.

        Raise :class:`PcreError` where a limit is met, or the text is not the UTF-8 that it has to
        be.
        """
        if self._next > self._last:
            return False
        last = min(self._next + PIECE - 1, self._last)
        if self._pattern.piece(self._text, self._next, last, checked=self._checked):
            return True
        self._checked = True
        self._next = self._pattern.align(self._text, last + 1)
        return None if self._next <= self._last else False


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str, options: tuple[str, ...]) -> Pattern:
    """Return the compiled pattern, each only once; raise :class:`PcreError`."""
    return Pattern(pattern, options)


@functools.cache
def _load() -> ctypes.CDLL:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    try:
        library = ctypes.CDLL(LIBRARY)
        library.pcre2_compile_8.restype = pointer
        library.pcre2_compile_8.argtypes = [
            ctypes.c_char_p, size, ctypes.c_uint32, pointer, pointer, pointer,
        ]  # fmt: skip
        library.pcre2_match_data_create_8.restype = pointer
        library.pcre2_match_data_create_8.argtypes = [ctypes.c_uint32, pointer]
        library.pcre2_match_context_create_8.restype = pointer
        library.pcre2_match_context_create_8.argtypes = [pointer]
        for name in ("match_limit", "heap_limit"):
            getattr(library, f"pcre2_set_{name}_8").argtypes = [pointer, ctypes.c_uint32]
        library.pcre2_set_offset_limit_8.argtypes = [pointer, size]
        library.pcre2_match_8.argtypes = [
            pointer, ctypes.c_char_p, size, size, ctypes.c_uint32, pointer, pointer,
        ]  # fmt: skip
        for name in ("code", "match_data", "match_context"):
            free = getattr(library, f"pcre2_{name}_free_8")
            free.argtypes = [pointer]
            free.restype = None
        library.pcre2_get_error_message_8.argtypes = [ctypes.c_int, ctypes.c_char_p, size]
    except (OSError, AttributeError) as error:
        raise PcreError(f"{LIBRARY} is not there, or is no PCRE2: {error}") from error
    return library
