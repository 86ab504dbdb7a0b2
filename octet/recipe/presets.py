"""The recipes that come with Octet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from octet.recipe.recipe import Recipe
from octet.recipe.sections import Activations, Gates, Repairs, Weights


class Preset(BaseModel):
    """A recipe with a name and a reason to choose it."""

    model_config = ConfigDict(frozen=True)

    name: str
    summary: str
    recipe: Recipe


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="dynamic",
            summary="Weights in int8, activations on the fly. No data needed; best for linear and recurrent layers.",
            recipe=Recipe(method="dynamic"),
        ),
        Preset(
            name="static",
            summary="Weights and activations in int8, ranges from calibration data. Best for convolutional models.",
            recipe=Recipe(method="static"),
        ),
        Preset(
            name="qat",
            summary="Static, then a short training with the rounding simulated. For models that static costs too much.",
            recipe=Recipe(method="qat"),
        ),
        Preset(
            name="static-repaired",
            summary="Static with every repair switched on. For models with uneven channels, such as depthwise ones.",
            recipe=Recipe(method="static", repairs=Repairs(equalize=True, correct_bias=True, clip_weights=True)),
        ),
        Preset(
            name="auto",
            summary="The fastest model within half a point of fp32: tries methods, observers, repairs, float layers.",
            recipe=Recipe(method="auto", gates=Gates(max_accuracy_drop=0.005)),
        ),
        Preset(
            name="simulate-4-bit",
            summary="What 4-bit weights and 8-bit activations would cost, without kernels.",
            recipe=Recipe(method="simulate", weights=Weights(bits=4), activations=Activations(bits=8)),
        ),
        Preset(
            name="static-vnni",
            summary="Static on oneDNN, for CPUs with VNNI or AMX: 8-bit activations and fused conv + add + relu.",
            recipe=Recipe(method="static", engine="onednn"),
        ),
        Preset(
            name="static-arm",
            summary="Static on QNNPACK, for ARM phones and boards. Latencies taken on x86 do not carry over.",
            recipe=Recipe(method="static", engine="qnnpack"),
        ),
    )
}
