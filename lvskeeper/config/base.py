"""The base of all models."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all: frozen, nothing extra, nothing converted."""

    # Validators are built when first needed: most models are only ever parts of a Config.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)
