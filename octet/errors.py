"""Everything that can go wrong, each with a stable code, a sentence for people and, where there is one, a way out.

The API turns these into RFC 9457 problems and the command line into an exit status; both show the same sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_MESSAGE = 4000
"""Characters of an error's message; longer ones are cut."""


@dataclass(frozen=True)
class FieldError:
    """One offending place in a document: an RFC 6901 JSON pointer to it, what is wrong, and what to do."""

    pointer: str
    message: str
    hint: str | None = None


class OctetError(Exception):
    """Base of every error that Octet raises on purpose.

    Attributes:
        code: Stable identifier, part of the API.
        message: One sentence: what happened, and where.
        hint: What to do about it, if anything can be done.
        errors: The offending places, when the input was a document.
    """

    code: str = "octet_error"

    def __init__(self, message: str, *, hint: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        # Messages quote what files say, which may be of any length.
        self.message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
        super().__init__(self.message)
        self.hint = hint
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UnsupportedFormatError(OctetError):
    """The file is something else than a `.pt2`: the message says what, the hint how to get a `.pt2`."""

    code = "unsupported_format"


class InvalidArchiveError(OctetError):
    """The file claims to be a `.pt2` but is truncated, damaged or not laid out as one."""

    code = "invalid_archive"


class InvalidModelError(OctetError):
    """The archive is sound, but the model in it cannot be used: dangling names, wrong kinds, NaN weights."""

    code = "invalid_model"


class UnsupportedOperatorError(OctetError):
    """The graph calls an operator that Octet's table does not have."""

    code = "unsupported_operator"


class ExportFailedError(OctetError):
    """`torch.export` could not capture the model."""

    code = "export_failed"


class InvalidRecipeError(OctetError):
    """The recipe has unknown keys, wrong values, or values that do not go together."""

    code = "invalid_recipe"


class InvalidDatasetError(OctetError):
    """The data cannot be read, or does not fit the model or the job."""

    code = "invalid_dataset"


class MissingDependencyError(OctetError):
    """A part of Octet was called whose extra is not installed."""

    code = "missing_dependency"


class OutOfMemoryError(OctetError):
    """A call of the model asks for more memory than there is."""

    code = "out_of_memory"


class TimedOutError(OctetError):
    """The job took longer than it may: its recipe says how long, and so does the service."""

    code = "timeout"


class QuantizationFailedError(OctetError):
    """The model could not be turned into an int8 one, not even with layers left in float."""

    code = "quantization_failed"


class VerificationFailedError(OctetError):
    """The saved artifact, loaded in a fresh process, did not give the outputs it gave before saving."""

    code = "verification_failed"


class DestinationExistsError(OctetError):
    """The artifact is to be saved where there is something already."""

    code = "destination_exists"
