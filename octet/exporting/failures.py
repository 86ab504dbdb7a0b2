"""What stopped torch.export, in words: the line of the user's code, what is wrong with it, and the ways out."""

from __future__ import annotations

import logging
import re
import sysconfig
import traceback
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from octet.errors import ExportFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octet.exporting.axes import Example

HERE = str(Path(__file__).parent)
# Frames that are not the user's code: torch's, Python's and these files'.
NOT_THE_USERS = (str(Path(torch.__file__).parent), sysconfig.get_path("stdlib"), HERE)

# What torch says -> what is wrong, and the way out. First match wins.
CAUSES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), reason, hint)
    for pattern, reason, hint in (
        (
            r"Could not guard on data-dependent",
            "Python chooses its way by the values of a tensor, which an exported model does not know beforehand",
            (
                "Compute both ways and choose with torch.where, or decide by a shape or a setting; "
                "leave out assertions on values."
            ),
        ),
        (
            r"Could not extract specialized integer|data-dependent",
            "a number is taken out of a tensor (.item(), .tolist(), int()), and so a size would hang on the data",
            (
                "Keep it a tensor, pad to a fixed size and mask the rest, or make it a setting of the model; "
                "run recurrent layers on the padded sequence instead of a packed one."
            ),
        ),
        (
            r"\.numpy\(\)|numpy",
            "a tensor is turned into a NumPy array, which torch.export cannot follow",
            "Use the torch function of the same purpose, or do it before the model, on its inputs.",
        ),
        (
            r"FakeTensor\.__format__",
            "the values of a tensor are printed or formatted",
            "Leave the printing out of forward.",
        ),
        (
            r"(Dynamic|Static|EncoderDecoder|Hybrid)\w*Cache",
            "the model returns a cache of keys and values, which is no tensor",
            "Add use_cache=False to the example inputs, or set model.config.use_cache = False.",
        ),
        (
            r"in output, which is not a known type|serializ\w+_type_name|register_namedtuple",
            "the model takes or returns an object that torch.export cannot take apart",
            (
                "Return tensors in tuples, lists or dicts, or make a dataclass known: "
                'torch.export.register_dataclass(Output, serialized_type_name="Output").'
            ),
        ),
        (
            r"UnsupportedOperatorException|UnsupportedFakeTensor|no fake impl|NYI: Named tensors|sparse",
            "torch.export has no rule for this operator",
            "Write it with dense tensors and the operators of torch.nn.functional.",
        ),
        (
            r"fake tensor in the exported program constant|was assigned during export|[Mm]utat\w+ attribute",
            "forward keeps a tensor for later, or computes a gradient",
            "Return the tensor instead of storing it in the module, and leave torch.autograd out of forward.",
        ),
        (
            r"expected device|on the same device|different devices",
            "its tensors are on different devices",
            (
                "Move the model and the example inputs to one device, and make new tensors on that of an input: "
                "torch.zeros(3, device=x.device)."
            ),
        ),
    )
)
WAYS_OUT = (
    "torch.export follows every line that runs, so a branch on a tensor's values, .item() and numpy stop it: "
    "replace them by tensor operations such as torch.where, or move them out of forward."
)
NOT_ITS_INPUTS = "Call the model with them before exporting it; they are what its forward takes, in its order."
FIXED_SIZE = (
    "Look for shapes written as numbers, such as x.view(8, -1) instead of x.view(x.size(0), -1), for tensors made of "
    "a fixed size, and for int(), len() and loops over that axis. An nn.RNN, nn.LSTM or nn.GRU always fixes the length "
    "of its sequences: export it with the longest one, and pad."
)


def line_of(frames: Iterable[traceback.FrameSummary]) -> str:
    """`FILE:LINE (CODE)` of the innermost frame that is not torch's; "" if there is none. Outermost call first."""
    own = [frame for frame in frames if not frame.filename.startswith(NOT_THE_USERS)]
    if not own:
        return ""
    last = own[-1]
    return f"{last.filename}:{last.lineno} ({last.line})"


def failed(model: torch.nn.Module, error: Exception) -> ExportFailedError:
    """Why `model` could not be exported."""
    first = next((text.strip() for text in str(error).splitlines() if text.strip()), type(error).__name__)
    reason, hint = _cause(error) or (first.rstrip("."), WAYS_OUT)
    return ExportFailedError(f"{type(model).__name__} could not be exported{_place(error)}: {reason}.", hint=hint)


def does_not_run(model: torch.nn.Module, error: Exception) -> ExportFailedError:
    """Why `model` does not even run on the example inputs."""
    _, hint = _cause(error) or ("", NOT_ITS_INPUTS)
    return ExportFailedError(
        f"{type(model).__name__} does not run on these example inputs{_place(error)}: {type(error).__name__}: {error}",
        hint=hint,
    )


def _cause(error: Exception) -> tuple[str, str] | None:
    said = f"{type(error).__name__}: {error}"
    return next(((reason, hint) for pattern, reason, hint in CAUSES if pattern.search(said)), None)


def _place(error: Exception) -> str:
    line = line_of(traceback.extract_tb(error.__traceback__))
    return f" at {line}" if line else ""


class Fixings(logging.Handler):
    """Listens to torch while it exports, for the lines that fix a size.

    torch says so in its structured trace, the one that its own tlparse reads; its errors name no line.
    """

    _LOG = "torch.__trace"

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, str] = {}
        self._last = ""

    def __enter__(self) -> Self:
        logging.getLogger(self._LOG).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(self._LOG).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Notes the line that now runs, if the record says that a size is being fixed or bounded."""
        metadata: dict[str, Any] = getattr(record, "metadata", {})
        fixing = metadata.get("symbolic_shape_specialization")
        guard = metadata.get("guard_added_fast")
        keys = fixing["sources"] if fixing else re.findall(r"\bs\d+\b", guard["expr"]) if guard else []
        if keys:
            # A size that is equal to a fixed one is found to be fixed when it is next looked at, wherever that is.
            line = self._last if fixing and fixing["reason"] == "find" else self._running()
            self._lines = dict.fromkeys(keys, line) | self._lines
            self._last = line if fixing else self._last

    @staticmethod
    def _running() -> str:
        inner = islice(reversed(traceback.extract_stack()), 2, None)
        return line_of(reversed(list(takewhile(lambda frame: not frame.filename.startswith(HERE), inner))))

    def line(self, key: str) -> str:
        """` at LINE` that fixed the axis of this source (`L['x'].size()[0]`) or bounded this symbol, if it was seen."""
        return f" at {self._lines[key]}" if self._lines.get(key) else ""


def fixed(model: torch.nn.Module, example: Example, axis: int, line: str) -> ExportFailedError:
    """The model's code fixes a size that is to stay open."""
    return ExportFailedError(
        f"{type(model).__name__} fixes the {_size(example, axis)} at {example.size(axis)}{line}.", hint=FIXED_SIZE
    )


def bounded(model: torch.nn.Module, example: Example, axis: int, line: str) -> ExportFailedError:
    """The model's code does one thing for some batches, another for others."""
    return ExportFailedError(
        f"{type(model).__name__} goes another way for some values of the {_size(example, axis)}{line}.",
        hint="An exported model has one way for all of them: leave that condition out.",
    )


def _size(example: Example, axis: int) -> str:
    return f"{example.axes[axis]} size (axis {axis} of {example.name})"
