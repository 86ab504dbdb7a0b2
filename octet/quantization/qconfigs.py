"""What the recipe says, as the qconfigs that torch's FX graph mode takes.

A qconfig is a pair of factories: what observes (static) or fakes (qat) an activation, and what does so for a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.ao.quantization import (
    QConfig,
    QConfigMapping,
    default_embedding_qat_qconfig,
    default_embedding_qat_qconfig_4bit,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.observer import default_dynamic_quant_observer

from octet.kernels import KERNEL_BITS, LOOK_UPS, TAKE_FLOATS
from octet.quantization.engine import reduces_range
from octet.quantization.exempt import SOFTMAX
from octet.quantization.observers import OBSERVERS
from octet.quantization.training.fakes import Fake

if TYPE_CHECKING:
    from torch import Tensor

    from octet.quantization.plan import LayerPlan, Plan
    from octet.recipe import Activations, Recipe, Weights

QSCHEMES = {
    ("per_channel", "symmetric"): torch.per_channel_symmetric,
    ("per_channel", "affine"): torch.per_channel_affine,
    ("per_tensor", "symmetric"): torch.per_tensor_symmetric,
    ("per_tensor", "affine"): torch.per_tensor_affine,
}

LOOK_UP_QCONFIGS: dict[tuple[int, bool], QConfig] = {
    (8, False): float_qparams_weight_only_qconfig,
    (4, False): float_qparams_weight_only_qconfig_4bit,
    (8, True): default_embedding_qat_qconfig,
    (4, True): default_embedding_qat_qconfig_4bit,
}
"""Bits of an embedding's weights, and whether they are trained -> torch's own qconfig: their kernels take one form."""


@dataclass(frozen=True)
class TensorConfig:
    """How one kind of tensor becomes integers.

    Attributes:
        section: What the recipe says of weights, or of activations.
        dtype: Of the integers, as torch stores them.
        quant_min: Least integer that is used.
        quant_max: Largest.
        training: Whether training fakes the rounding.
    """

    section: Weights | Activations
    dtype: torch.dtype
    quant_min: int
    quant_max: int
    training: bool = False

    def factory(self) -> Any:
        """What FX calls to make the observer, or the fake-quantize module, of one tensor."""
        section = self.section
        observer = OBSERVERS[section.observer, section.granularity]
        arguments: dict[str, Any] = {
            "dtype": self.dtype,
            "qscheme": QSCHEMES[section.granularity, section.scheme],
            "quant_min": self.quant_min,
            "quant_max": self.quant_max,
            "power_of_two": section.power_of_two,
        }
        if section.observer == "percentile":
            arguments["percentile"] = section.percentile
        if self.training:
            return Fake.with_args(observer=observer, **arguments)  # type: ignore[no-untyped-call]
        return observer.with_args(**arguments)

    def rounded(self, tensor: Tensor) -> Tensor:
        """`tensor` as it comes back from its integers, over the range of its extremes."""
        section = self.section.model_copy(update={"observer": "minmax"})
        observer = replace(self, section=section, training=False).factory()()
        observer(tensor)
        scale, zero_point = observer.calculate_qparams()
        if section.granularity == "per_tensor":
            figures = scale.item(), int(zero_point.item())
            return torch.fake_quantize_per_tensor_affine(tensor, *figures, self.quant_min, self.quant_max)
        return torch.fake_quantize_per_channel_affine(
            tensor, scale, zero_point.int(), 0, self.quant_min, self.quant_max
        )

    def per_tensor(self) -> TensorConfig:
        """The same with one scale for the whole tensor."""
        return replace(self, section=self.section.model_copy(update={"granularity": "per_tensor"}))


def activation_config(recipe: Recipe) -> TensorConfig:
    """Activations are unsigned: that is what every engine's kernels take."""
    return TensorConfig(
        section=recipe.activations,
        dtype=torch.quint8,
        quant_min=0,
        quant_max=127 if reduces_range(recipe) else 255,
        training=recipe.method == "qat",
    )


def weight_config(recipe: Recipe) -> TensorConfig:
    """Weights are signed; one scale per output channel unless the recipe says otherwise."""
    return TensorConfig(
        section=recipe.weights,
        dtype=torch.qint8,
        quant_min=-128,
        quant_max=127,
        training=recipe.method == "qat",
    )


class QConfigs:
    """The qconfigs of a recipe: per method, and per type where torch's kernels ask for something special."""

    def __init__(self, recipe: Recipe) -> None:
        weight = weight_config(recipe)
        activation = activation_config(recipe).factory()
        static = _qconfig(activation, weight.factory())
        dynamic = _qconfig(default_dynamic_quant_observer, weight.factory())
        self._methods: dict[str, QConfig | None] = {"static": static, "qat": static, "dynamic": dynamic, "float": None}
        transposed = _qconfig(activation, weight.per_tensor().factory())
        self._special = _special(recipe, static, transposed)
        self._activation = activation
        self._default = recipe.method
        self._weight = weight

    def mapping(self, plan: Plan) -> QConfigMapping:
        """The methods of `plan`, as FX takes them: by module path, by position for functions, else the default."""
        mapping = QConfigMapping().set_global(self._methods[self._default])
        if self._default != "dynamic":
            for key, qconfig in self._special.items():
                if not isinstance(key, type):  # layers go by their names; FX fuses none whose types have qconfigs apart
                    mapping.set_object_type(key, qconfig)
            for softmax in SOFTMAX:
                mapping.set_object_type(softmax, None)
        for name, layer in plan.layers.items():
            mapping.set_module_name(name, self._of(layer))
        for call in plan.float_calls:
            mapping.set_module_name(call, None)  # `prepare` gives each call this for a path
        return mapping

    def weight_of(self, layer: LayerPlan) -> TensorConfig:
        """How the weight of a linear layer or a convolution becomes int8."""
        if layer.bits < KERNEL_BITS:
            return replace(self._weight, quant_min=-(2 ** (layer.bits - 1)), quant_max=2 ** (layer.bits - 1) - 1)
        return self._weight.per_tensor() if "transpose" in _name(layer.module_type) else self._weight

    @property
    def static(self) -> QConfig:
        """Of a static layer that asks for nothing special."""
        return cast("QConfig", self._methods["static"])

    def _of(self, layer: LayerPlan) -> QConfig | None:
        if layer.method == "static" and layer.module_type.__name__ in TAKE_FLOATS:
            return None  # not FX's
        if layer.method in {"static", "qat"}:
            if layer.bits < KERNEL_BITS:
                return _qconfig(self._activation, self.weight_of(layer).factory())
            return self._special.get(layer.module_type, self._methods[layer.method])
        if layer.method == "dynamic" and layer.module_type.__name__ in LOOK_UPS:
            return LOOK_UP_QCONFIGS[layer.bits, self._default == "qat"]
        return self._methods[layer.method]


def _special(recipe: Recipe, static: QConfig, transposed: QConfig) -> dict[Any, QConfig]:
    """Types and functions whose kernels ask for something special, from torch's own table of them.

    Sigmoid, tanh and softmax have a fixed output range; transposed convolutions take one weight scale; layer norm
    keeps a float weight. What torch's table leaves at its default is taken from the recipe.
    """
    training = recipe.method == "qat"
    default = (get_default_qat_qconfig_mapping if training else get_default_qconfig_mapping)(recipe.engine)
    usual = default.global_qconfig.activation  # type: ignore[union-attr]  # torch always sets it
    special = {key: qconfig for key, qconfig in default.object_type_qconfigs.items() if qconfig is not None}
    # Theirs for `reshape` goes back to the nearest observer before it, past whatever float call stands between: that is
    # another tensor's range, and where it finds none the layers that follow stay in float. A view does well without.
    special.pop("reshape", None)
    return {
        key: _qconfig(
            static.activation if theirs.activation == usual else theirs.activation,
            transposed.weight if "transpose" in _name(key) else theirs.weight,
        )
        for key, theirs in special.items()
    }


def _qconfig(activation: Any, weight: Any) -> QConfig:
    return QConfig(activation=activation, weight=weight)  # type: ignore[no-untyped-call]  # torch does not annotate it


def _name(key: Any) -> str:
    return str(getattr(key, "__name__", key)).lower()
