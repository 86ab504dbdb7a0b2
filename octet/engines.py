"""The int8 engines, as one table. Free of torch: the API and the client list them too."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal, get_args

EngineName = Literal["fbgemm", "x86", "onednn", "qnnpack"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)


@dataclass(frozen=True)
class Engine:
    """What a kernel library is for and what it asks of the CPU it is deployed on.

    Attributes:
        name: The value of `torch.backends.quantized.engine`.
        summary: One line for people.
        architectures: `platform.machine()` values the engine is made for; elsewhere it may run, but slowly.
        cpu_flags: CPU features without which the artifact's int8 kernels do not run as measured.
        reduce_range: Whether 7-bit activations are the default: without VNNI the 8-bit products of two
            neighbours overflow the 16-bit accumulator (vpmaddubsw).
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
