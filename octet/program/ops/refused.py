"""Operators that are refused for a reason of their own: why, and the usual way out."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM = frozenset(
    {
        "bernoulli", "binomial", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "native_dropout",
        "normal", "normal_functional", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
        "randperm", "random", "uniform",
    }
)  # fmt: skip
"""Operators of aten, less their overload, that give something else at each call."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an operator is not in the table.

    Attributes:
        why: What is said after its name and place.
        hint: What to do about it.
    """

    why: str
    hint: str


_UNKNOWN = Refusal("is not in Octet's table", "Replace it in the source, or leave that part out of the exported model.")
_DRAWS = Refusal(
    "draws random numbers, so no two calls of the model compare",
    "Have the model take the random values as an input, or export it without the sampling.",
)
_FUSED = Refusal(
    "hides layers inside one fused kernel",
    "Export again after torch.backends.mha.set_fastpath_enabled(False), as octet.export does.",
)
_OTHER_NAMESPACE = Refusal(
    "belongs to another library than torch, whose code Octet would have to run",
    "Write it with torch's own operators, or leave that part out of the exported model.",
)

# The longest of these that a target starts with says why.
_REFUSED: dict[str, Refusal] = {
    "": _OTHER_NAMESPACE,
    "aten.": _UNKNOWN,
    **{f"aten.{name}.": _DRAWS for name in RANDOM},
    "aten._transformer_encoder_layer_fwd.": _FUSED,
    "aten._native_multi_head_attention.": _FUSED,
    "higher_order.": Refusal(
        "chooses at run time which part of the model runs",
        "Compute both sides and choose with torch.where, or export the part of the model that is to be quantized.",
    ),
    "prims.": Refusal(
        "comes of decomposing the exported model further than torch.export does",
        "Save what torch.export.export gives, before run_decompositions with a table of your own.",
    ),
    "quantized.": Refusal("belongs to a model that is quantized already", "Upload the float model."),
    "quantized_decomposed.": Refusal("belongs to a model that is quantized already", "Upload the float model."),
    "torchao.": Refusal("belongs to a model that is quantized already", "Upload the float model."),
    "torchvision.": Refusal(
        "is torchvision's own, not torch's", "Leave the selection of boxes out of the exported model, and do it after."
    ),
    "_c10d_functional.": Refusal(
        "talks to other processes", "Export the module itself, without the wrapper that distributes it."
    ),
}


def refusal(target: str) -> Refusal:
    """Why a target that the table lacks is refused; the in-place form of an operator as the operator itself."""
    space, _, name = target.partition(".")
    packet, _, overload = name.partition(".")
    plain = f"{space}.{packet.removesuffix('_')}.{overload}"
    return _REFUSED[max((prefix for prefix in _REFUSED if plain.startswith(prefix)), key=len)]
