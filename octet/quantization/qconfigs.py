"""What the recipe says, as the qconfigs that torch's FX graph mode takes.

A qconfig is a pair of factories: what observes (static) or fakes (qat) an activation, and what does so for a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.ao.quantization import (
    QConfig,
    QConfigMapping,
    get_default_qat_qconfig_mapping,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.fake_quantize import FakeQuantize
from torch.ao.quantization.observer import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
    default_dynamic_quant_observer,
)

from octet.engines import ENGINES
from octet.quantization.exempt import SOFTMAX
from octet.quantization.observers import POWER_OF_TWO, HistogramObserver

if TYPE_CHECKING:
    from octet.quantization.plan import Plan
    from octet.recipe import Recipe

ACTIVATION_OBSERVERS = {
    "histogram": HistogramObserver,
    "minmax": MinMaxObserver,
    "moving_average": MovingAverageMinMaxObserver,
}
# While training, the range has to follow the weights, and a histogram is too slow to search at every step. The extremes
# take its place: they clip nothing, as the histogram nearly does.
TRAINING_ACTIVATION_OBSERVERS = ACTIVATION_OBSERVERS | {"histogram": MinMaxObserver}

WEIGHT_OBSERVERS = {"per_channel": PerChannelMinMaxObserver, "per_tensor": MinMaxObserver}
TRAINING_WEIGHT_OBSERVERS = {
    "per_channel": MovingAveragePerChannelMinMaxObserver,
    "per_tensor": MovingAverageMinMaxObserver,
}

QSCHEMES = {
    ("per_channel", "symmetric"): torch.per_channel_symmetric,
    ("per_channel", "affine"): torch.per_channel_affine,
    ("per_tensor", "symmetric"): torch.per_tensor_symmetric,
    ("per_tensor", "affine"): torch.per_tensor_affine,
}


@dataclass(frozen=True)
class TensorConfig:
    """How one kind of tensor becomes int8: the observer, its arguments, and whether training fakes the rounding."""

    observer: Any
    dtype: torch.dtype
    qscheme: torch.qscheme
    quant_min: int
    quant_max: int
    power_of_two: bool
    training: bool

    def factory(self) -> Any:
        """What FX calls to make the observer, or the fake-quantize module, of one tensor."""
        observer = POWER_OF_TWO[self.observer] if self.power_of_two else self.observer
        arguments = {
            "dtype": self.dtype,
            "qscheme": self.qscheme,
            "quant_min": self.quant_min,
            "quant_max": self.quant_max,
        }
        if self.training:
            return FakeQuantize.with_args(observer=observer, **arguments)  # type: ignore[no-untyped-call]
        return observer.with_args(**arguments)


def reduces_range(recipe: Recipe) -> bool:
    """Whether activations use 7 bits under `recipe`."""
    wanted = recipe.activations.reduce_range
    return ENGINES[recipe.engine].reduce_range if wanted == "auto" else wanted


def activation_config(recipe: Recipe) -> TensorConfig:
    """Activations are unsigned: that is what every engine's kernels take."""
    activations = recipe.activations
    training = recipe.method == "qat"
    observers = TRAINING_ACTIVATION_OBSERVERS if training else ACTIVATION_OBSERVERS
    return TensorConfig(
        observer=observers[activations.observer],
        dtype=torch.quint8,
        qscheme=QSCHEMES[activations.granularity, activations.scheme],
        quant_min=0,
        quant_max=127 if reduces_range(recipe) else 255,
        power_of_two=activations.power_of_two,
        training=training,
    )


def weight_config(recipe: Recipe) -> TensorConfig:
    """Weights are signed; one scale per output channel unless the recipe says otherwise."""
    weights = recipe.weights
    training = recipe.method == "qat"
    granularity = weights.granularity
    observers = TRAINING_WEIGHT_OBSERVERS if training else WEIGHT_OBSERVERS
    return TensorConfig(
        observer=observers[granularity],
        dtype=torch.qint8,
        qscheme=QSCHEMES[granularity, weights.scheme],
        quant_min=-128,
        quant_max=127,
        power_of_two=weights.power_of_two,
        training=training,
    )


def per_tensor(config: TensorConfig, scheme: str) -> TensorConfig:
    """`config` with one scale for the whole tensor."""
    observers = TRAINING_WEIGHT_OBSERVERS if config.training else WEIGHT_OBSERVERS
    return replace(config, observer=observers["per_tensor"], qscheme=QSCHEMES["per_tensor", scheme])


class QConfigs:
    """The qconfigs of a recipe: per method, and per type where torch's kernels ask for something special."""

    def __init__(self, recipe: Recipe) -> None:
        weight = weight_config(recipe)
        activation = activation_config(recipe).factory()
        static = _qconfig(activation, weight.factory())
        dynamic = _qconfig(default_dynamic_quant_observer, weight.factory())
        self._methods: dict[str, QConfig | None] = {"static": static, "qat": static, "dynamic": dynamic, "float": None}
        transposed = _qconfig(activation, per_tensor(weight, recipe.weights.scheme).factory())
        self._special = _special(recipe, static, transposed)
        self._default = recipe.method

    def mapping(self, plan: Plan) -> QConfigMapping:
        """The methods of `plan`, as FX takes them: by module path, by position for functions, else the default."""
        mapping = QConfigMapping().set_global(self._methods[self._default])
        if self._default != "dynamic":
            for key, qconfig in self._special.items():
                mapping.set_object_type(key, qconfig)
            for softmax in SOFTMAX:
                mapping.set_object_type(softmax, None)
        for name, layer in plan.layers.items():
            mapping.set_module_name(name, self._of(layer.method, layer.module_type))
        for call in plan.float_calls:
            mapping.set_module_name(call, None)  # `prepare` gives each call this for a path
        return mapping

    def _of(self, method: str, module_type: type) -> QConfig | None:
        if method in {"static", "qat"}:
            return self._special.get(module_type, self._methods[method])
        return self._methods[method]


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
