"""The reason why a value is refused."""

from typing import final


@final
class BadValueError(ValueError):
    """Word number *index* is not what the keyword takes."""

    def __init__(self, index: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.hint = hint
