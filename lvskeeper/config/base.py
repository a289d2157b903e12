"""The base of all models, and what several of them hold."""

from typing import final

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all: frozen, nothing extra, nothing converted."""

    # Validators are built when first needed: most models are only ever parts of a Config.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


@final
class Command(Model):
    """A script with its arguments, and who runs it."""

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""


@final
class ScriptUser(Model):
    """Who runs the scripts that name nobody."""

    user: str = ""
    group: str = ""
