"""Which layers have int8 kernels, engine by engine: the one table that planning and `octet inspect` go by.

It is what torch 2.13 was measured to do, which is less than what FX graph mode takes for granted: some kernels are
missing, and some are there and give wrong results. `tests/octet/quantization/test_quantization_kernels.py` measures it
again. What the table does not foresee is found when the conversion is rehearsed (`quantization/fallback.py`).

Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from octet.engines import EngineName
    from octet.recipe import Int8Method, LayerMethod

KERNEL_BITS = 8

Kernel = Literal["static", "dynamic"]
"""Kinds of kernel: both static and QAT models run static ones."""


@dataclass(frozen=True, slots=True)
class LayerForm:
    """A layer, as far as kernels care.

    Attributes:
        type: Its class in `torch.nn`.
        options: Its constructor's arguments, by name.
        rank: How many dimensions its input has; None where that is not known.
        bits: Of its weights, as a kernel is to have them.
    """

    type: str
    options: Mapping[str, Any]
    rank: int | None = None
    bits: int = KERNEL_BITS


Restriction = Callable[[LayerForm, "EngineName"], str | None]
"""Says why a layer has no kernel that its type would have, if it has none."""


def _no_vector(form: LayerForm, _: EngineName) -> str | None:
    return "its input is one vector, and int8 kernels take batches" if form.rank == 1 else None


def _batched(rank: int) -> Restriction:
    def restriction(form: LayerForm, _: EngineName) -> str | None:
        return "its input has no batch, and int8 kernels take batches" if form.rank == rank - 1 else None

    return restriction


def _zero_padding(form: LayerForm, _: EngineName) -> str | None:
    mode = form.options.get("padding_mode", "zeros")
    return None if mode == "zeros" else f"no int8 kernel pads in {mode} mode"


_FBGEMM_GROUPS = 100
"""The engine x86 gives transposed convolutions of more groups to FBGEMM (torch 2.13, `onednn_utils.h`)."""


def _onednn_transposed(form: LayerForm, engine: EngineName) -> str | None:
    shifted = any(_each(form.options.get("output_padding", 0)))
    if engine == "onednn" and shifted:
        return "oneDNN has no int8 kernel for a transposed convolution with output padding"
    given = engine == "onednn" or (engine == "x86" and not shifted and form.options.get("groups", 1) <= _FBGEMM_GROUPS)
    if given and form.options["in_channels"] != form.options["out_channels"]:
        return "oneDNN's int8 transposed convolution gives wrong results where input and output channels differ"
    return None


def _fbgemm_doubling(form: LayerForm, engine: EngineName) -> str | None:
    """FBGEMM has a kernel of its own for what doubles an image's sides, for whole groups of eight channels."""
    option = form.options.get
    doubles = all(
        set(_each(option(name, default))) == {wanted}
        for name, default, wanted in (
            ("kernel_size", 0, 2), ("stride", 1, 2), ("padding", 0, 0), ("dilation", 1, 1), ("groups", 1, 1)
        )
    )  # fmt: skip
    wrong = engine == "fbgemm" and doubles and form.options["out_channels"] % 8 == 0
    return "FBGEMM's int8 transposed convolution of a 2x2 window and stride 2 gives wrong results" if wrong else None


def _qnnpack_transposed(form: LayerForm, engine: EngineName) -> str | None:
    del form
    return "QNNPACK's int8 transposed 3-D convolution gives wrong results" if engine == "qnnpack" else None


def _qnnpack_unsaved(form: LayerForm, engine: EngineName) -> str | None:
    del form
    return "a 3-D convolution packed for QNNPACK cannot be saved" if engine == "qnnpack" else None


def _affine(form: LayerForm, _: EngineName) -> str | None:
    return None if form.options.get("affine", True) else "the int8 kernel takes a weight and a bias, which it has not"


def _biased(form: LayerForm, _: EngineName) -> str | None:
    return None if form.options.get("bias", True) else "the int8 kernel takes biases, which it has not"


def _no_projection(form: LayerForm, _: EngineName) -> str | None:
    return "no int8 kernel has a projection (proj_size)" if form.options.get("proj_size") else None


def _one_or_two_dimensions(form: LayerForm, _: EngineName) -> str | None:
    return None if form.rank in {None, 1, 2} else "the int8 look-up takes one or two dimensions of indices"


def _even_rows(form: LayerForm, _: EngineName) -> str | None:
    odd = form.bits < KERNEL_BITS and form.options["embedding_dim"] % 2
    return "the 4-bit kernel takes rows of an even length" if odd else None


def _summed(form: LayerForm, _: EngineName) -> str | None:
    mode = form.options.get("mode", "mean")
    return None if mode == "sum" else f"the int8 kernel sums bags, whatever their mode; this one's is {mode}"


def _no_padding_index(form: LayerForm, _: EngineName) -> str | None:
    padded = form.options.get("padding_idx") is not None
    return "the int8 kernel leaves no padding index out of a bag" if padded else None


def _one_direction(form: LayerForm, _: EngineName) -> str | None:
    several = form.options.get("num_layers", 1) > 1 or form.options.get("bidirectional", False)
    return (
        "a static LSTM of several layers or directions joins states of different scales as if of one"
        if several
        else None
    )


def _each(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _none(reason: str) -> Restriction:
    def restriction(form: LayerForm, engine: EngineName) -> str:
        del form, engine
        return reason

    return restriction


STATIC: dict[str, tuple[Restriction, ...]] = {
    "Linear": (_no_vector,),
    **{f"Conv{dims}d": (_batched(dims + 2), _zero_padding) for dims in (1, 2)},
    "Conv3d": (_batched(5), _zero_padding, _qnnpack_unsaved),
    "ConvTranspose1d": (_batched(3), _onednn_transposed),
    "ConvTranspose2d": (_batched(4), _onednn_transposed, _fbgemm_doubling),
    "ConvTranspose3d": (_batched(5), _onednn_transposed, _qnnpack_transposed),
    "BatchNorm1d": (_none("no int8 kernel for a BatchNorm1d that is not folded into the layer before it"),),
    "BatchNorm2d": (_affine,),
    "BatchNorm3d": (_affine,),
    **{f"InstanceNorm{dims}d": () for dims in (1, 2, 3)},
    "LayerNorm": (),
    "LSTM": (_batched(3), _no_projection, _one_direction),
    "PReLU": (_none("torch's int8 PReLU also scales what is positive"),),
    **dict.fromkeys(("ReLU", "ReLU6", "Hardtanh", "LeakyReLU", "ELU", "Hardswish"), ()),
    **dict.fromkeys(("Sigmoid", "Hardsigmoid", "Tanh", "Dropout", "Identity", "PixelShuffle", "PixelUnshuffle"), ()),
    **{f"{kind}Pool{dims}d": () for kind in ("Max", "Avg", "AdaptiveAvg") for dims in (1, 2, 3)},
}
"""Types with kernels that take int8 tensors and give int8 tensors."""

DYNAMIC: dict[str, tuple[Restriction, ...]] = {
    "Linear": (_no_vector,),
    "LSTM": (_biased, _no_projection),
    **dict.fromkeys(("GRU", "LSTMCell", "GRUCell", "RNNCell"), (_biased,)),
    "Embedding": (_one_or_two_dimensions, _even_rows),
    "EmbeddingBag": (_summed, _no_padding_index, _even_rows),
}
"""Types with kernels that take and give floats, and find the range of the floats that they take at every call."""

TABLES: dict[Kernel, dict[str, tuple[Restriction, ...]]] = {"static": STATIC, "dynamic": DYNAMIC}

LOOK_UPS = frozenset({"Embedding", "EmbeddingBag"})
"""Types whose weights can have 4 bits too: they are looked up, each row with a scale and an offset of its own."""

WEIGHTED = frozenset({"Linear", *(f"Conv{kind}{dims}d" for kind in ("", "Transpose") for dims in (1, 2, 3))})
"""Types that multiply by a weight: nearly all of a model's work."""


_IN_FLOAT = "its int8 kernel computes in float, and rounds what it is given and what it gives for no gain in time"
KEPT_IN_FLOAT: dict[str, str] = {
    "LayerNorm": _IN_FLOAT,
    **{f"InstanceNorm{dims}d": _IN_FLOAT for dims in (1, 2, 3)},
}
"""Types that have static kernels, and stay in float unless a rule asks for one; each with the reason."""


def weight_bits(form: LayerForm, engine: EngineName, *, reduced: bool) -> int:
    """The bits that the weights of a static layer may use; `reduced`: whether activations use 7.

    FBGEMM's depthwise convolutions add the products of two neighbours in 16 bits on every CPU, with VNNI or without
    (torch 2.13, measured): 2 x 255 x 127 overflows, 2 x 255 x 63 does not. Beyond 100 groups, x86 takes them too.
    """
    groups = form.options.get("groups", 1)
    depthwise = form.type in {"Conv2d", "Conv3d"} and 1 < groups == form.options["in_channels"]
    by_fbgemm = engine == "fbgemm" or (engine == "x86" and groups > _FBGEMM_GROUPS)
    return KERNEL_BITS - 1 if depthwise and by_fbgemm and not reduced else KERNEL_BITS


TAKE_FLOATS = frozenset(DYNAMIC) - WEIGHTED
"""Types whose kernels take and give floats, the static ones of LSTMs too."""


def usual_method(type_name: str, method: Int8Method) -> Int8Method:
    """How a layer is done unless a rule says otherwise: what takes floats anyway is dynamic, which is faster."""
    return "dynamic" if type_name in TAKE_FLOATS else method


def kernel_of(method: LayerMethod) -> Kernel:
    """The kind of kernel that a method ends in: QAT's are static ones."""
    return "dynamic" if method == "dynamic" else "static"


def why_float(form: LayerForm, kernel: Kernel, engine: EngineName, *, asked: bool = False) -> str | None:
    """Why a layer stays in float; None if it is done in int8. `asked`: whether a rule names the method."""
    if kernel == "static" and form.type in KEPT_IN_FLOAT and not asked:
        return KEPT_IN_FLOAT[form.type]
    restrictions = TABLES[kernel].get(form.type)
    if restrictions is None:
        return f"torch has no {kernel} int8 kernel for {form.type}"
    return next(filter(None, (restriction(form, engine) for restriction in restrictions)), None)
