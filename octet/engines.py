"""The int8 engines, as one table. Free of torch: the API and the client list them too."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octet.recipe.sections import DeployCpu

EngineName = Literal["fbgemm", "x86", "onednn", "qnnpack"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)


@dataclass(frozen=True)
class Engine:
    """What a kernel library is for and what it asks of the CPU it is deployed on.

    Attributes:
        name: The value of `torch.backends.quantized.engine`.
        summary: One line for people.
        architectures: `platform.machine()` values the engine is made for; elsewhere it may run, but slowly.
        cpu_flags: CPU features without which the artifact's int8 kernels do not run as measured; `a|b`: either.
        reduce_range: Whether 8-bit activations need VNNI: without it, the 8-bit products of two neighbours overflow
            the 16-bit accumulator (vpmaddubsw), and activations get 7 bits.
        affine_weights: Whether weights may have a zero point other than 0.
    """

    name: EngineName
    summary: str
    architectures: tuple[str, ...]
    cpu_flags: tuple[str, ...]
    reduce_range: bool
    affine_weights: bool = True

    @property
    def native(self) -> bool:
        """Whether this machine's CPU is of the kind the engine is made for: its latencies mean something here."""
        return platform.machine() in self.architectures

    def reduces_range(self, features: Iterable[str]) -> bool:
        """Whether activations should have 7 bits on a CPU with `features`."""
        return self.reduce_range and VNNI not in features

    def flags_for(self, *, reduced: bool) -> tuple[str, ...]:
        """What the CPU must have for a model with 7-bit activations (`reduced`), or with 8-bit ones."""
        return (*self.cpu_flags, VNNI) if self.reduce_range and not reduced else self.cpu_flags


VNNI = "avx512_vnni"
"""What FBGEMM accumulates in 32 bits with; a CPU with `avx_vnni` alone gets its AVX2 kernels."""

_AVX512 = ("avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl")

CPUS: dict[DeployCpu, tuple[str, ...]] = {
    "any": (),
    "avx2": ("avx2",),
    "avx512": _AVX512,
    "vnni": (*_AVX512, VNNI),
    "amx": (*_AVX512, VNNI, "amx_tile", "amx_int8"),
    "arm": (),
}
"""What each CPU that a recipe may name has for certain; `this` is looked at where the job runs."""

_X86 = ("x86_64", "AMD64")
_ARM = ("aarch64", "arm64")

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("fbgemm", "server x86 with AVX2", _X86, ("avx2",), reduce_range=True),
        Engine("x86", "fbgemm and oneDNN, chosen per layer", _X86, ("avx2",), reduce_range=True),
        Engine(
            "onednn",
            "x86 with VNNI or AMX",
            _X86,
            ("avx512_vnni|avx_vnni",),
            reduce_range=False,
            affine_weights=False,
        ),
        Engine("qnnpack", "ARM phones and boards", _ARM, (), reduce_range=False),
    )
}
