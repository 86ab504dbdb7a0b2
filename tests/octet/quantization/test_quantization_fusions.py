"""Fusion: which layers become one kernel on which engine, and what the report says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from torch import Tensor, nn
from torch.nn import functional

from octet.engines import ENGINE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.quantization import Quantized
    from octet.report import Fusion


class Row(nn.Module):
    """A list of layers and what is done with them, between two layers that give int8 and take it."""

    def __init__(self, layers: list[nn.Module], function: Callable[..., Tensor], dims: int) -> None:
        super().__init__()
        self.stem, self.tail = (conv(dims) if dims else nn.Linear(4, 4) for _ in range(2))
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the function does."""
        return self.tail(self.function(self.stem(x), *self.layers))


def chain(x: Tensor, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def conv(dims: int, **options: Any) -> nn.Module:
    return getattr(nn, f"Conv{dims}d")(4, 4, 3, padding=1, **options)


def up(dims: int) -> nn.Module:
    return getattr(nn, f"ConvTranspose{dims}d")(4, 4, 3)


def norm(dims: int) -> nn.Module:
    layer = getattr(nn, f"BatchNorm{dims}d")(4)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    nn.init.uniform_(layer.weight, 0.5, 2.0)
    nn.init.normal_(layer.bias)
    return layer


def added(x: Tensor, layer: nn.Module, *others: nn.Module) -> Tensor:
    return chain(layer(x) + x, *others)


SHAPES = {0: (64, 4), 1: (32, 4, 12), 2: (32, 4, 8, 8), 3: (16, 4, 5, 5, 5)}
ALL, ONEDNN, OTHERS = ENGINE_NAMES, ("onednn",), tuple(name for name in ENGINE_NAMES if name != "onednn")
IN_3D = tuple(name for name in ENGINE_NAMES if name != "qnnpack")


def of(dims: int) -> tuple[str, ...]:
    """The engines that have convolutions of so many dimensions."""
    return ALL if dims < 3 else IN_3D


# What is fused -> layers, what is done with them, dimensions, engines that fuse it, and the kernel's class.
PATTERNS: dict[str, tuple[Callable[[], list[nn.Module]], Callable[..., Tensor], int, tuple[str, ...], str]] = {
    **{
        f"Conv{d}d + BatchNorm{d}d": (lambda d=d: [conv(d), norm(d)], chain, d, of(d), f"Conv{d}d") for d in (1, 2, 3)
    },
    **{
        f"Conv{d}d + BatchNorm{d}d + ReLU": (
            lambda d=d: [conv(d), norm(d), nn.ReLU()], chain, d, of(d), f"ConvReLU{d}d",
        )
        for d in (1, 2, 3)
    },
    **{f"Conv{d}d + ReLU": (lambda d=d: [conv(d), nn.ReLU()], chain, d, of(d), f"ConvReLU{d}d") for d in (1, 2, 3)},
    "Conv2d + relu": (lambda: [conv(2)], lambda x, layer: functional.relu(layer(x)), 2, ALL, "ConvReLU2d"),
    "Conv2d + add": (lambda: [conv(2)], added, 2, ONEDNN, "ConvAdd2d"),
    "Conv2d + add + ReLU": (lambda: [conv(2), nn.ReLU()], added, 2, ONEDNN, "ConvAddReLU2d"),
    "add + ReLU": (lambda: [conv(2), nn.ReLU()], added, 2, OTHERS, "add_relu"),
    "Linear + ReLU": (lambda: [nn.Linear(4, 4), nn.ReLU()], chain, 0, ALL, "LinearReLU"),
    "Linear + LeakyReLU": (lambda: [nn.Linear(4, 4), nn.LeakyReLU(0.1)], chain, 0, ONEDNN, "LinearLeakyReLU"),
    "Linear + Tanh": (lambda: [nn.Linear(4, 4), nn.Tanh()], chain, 0, ONEDNN, "LinearTanh"),
    "Linear + BatchNorm1d": (lambda: [nn.Linear(4, 4), norm(1)], chain, 0, ALL, "Linear"),
    "Linear + BatchNorm1d + ReLU": (lambda: [nn.Linear(4, 4), norm(1), nn.ReLU()], chain, 0, ALL, "LinearReLU"),
    "Linear + BatchNorm1d + LeakyReLU": (
        lambda: [nn.Linear(4, 4), norm(1), nn.LeakyReLU(0.1)], chain, 0, ONEDNN, "LinearLeakyReLU",
    ),
    **{
        f"BatchNorm{d}d + ReLU": (lambda d=d: [nn.ReLU(), norm(d), nn.ReLU()], chain, d, of(d), f"BNReLU{d}d")
        for d in (2, 3)
    },
    **{
        f"ConvTranspose{d}d + BatchNorm{d}d": (
            lambda d=d: [up(d), norm(d)], chain, d, of(d), f"ConvTranspose{d}d",
        )
        for d in (1, 2, 3)
    },
}  # fmt: skip
ROWS = [(kind, engine) for kind, (*_, engines, _) in PATTERNS.items() for engine in engines]


def kernels_of(result: Quantized) -> set[str]:
    """Classes of the layers and names of the functions of the int8 graph."""
    return {
        type(result.int8.get_submodule(str(node.target))).__name__
        if node.op == "call_module"
        else str(node.target).rpartition(".")[2]
        for node in result.int8.graph.nodes
    }


@pytest.mark.parametrize(("kind", "engine"), ROWS)
def test_a_pattern_becomes_one_kernel_as_good_as_its_parts(kind: str, engine: str) -> None:
    torch.manual_seed(0)
    layers, function, dims, _, kernel = PATTERNS[kind]
    model, inputs = Row(layers(), function, dims).eval(), torch.randn(SHAPES[dims])
    recipe = recipe_of("static", engine, activations={"observer": "minmax"})
    result = quantized(model, recipe, inputs)
    (fusion,) = [fusion for fusion in result.fusions if fusion.kind == kind]
    assert fusion.name == fusion.parts[0]
    assert kernel in kernels_of(result)
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("kind", ["Conv2d + BatchNorm2d + ReLU", "Conv2d + ReLU", "Linear + BatchNorm1d"])
def test_what_is_fused_in_training_is_fused_after_it(kind: str) -> None:
    torch.manual_seed(0)
    layers, function, dims, _, kernel = PATTERNS[kind]
    model, inputs = Row(layers(), function, dims).eval(), torch.randn(SHAPES[dims])
    result = quantized(model, recipe_of("qat"), inputs)
    assert kind in [fusion.kind for fusion in result.fusions]
    assert kernel in kernels_of(result)


def fusions_of(layers: list[nn.Module], recipe: dict[str, Any], shape: tuple[int, ...]) -> tuple[Fusion, ...]:
    torch.manual_seed(0)
    model, inputs = Row(layers, chain, len(shape) - 2).eval(), torch.randn(shape)
    result = quantized(model, recipe_of(**recipe), inputs)
    assert sqnr_of(model, result, recipe_of(**recipe), inputs) > 20
    return result.fusions


@pytest.mark.parametrize("activation", [nn.Tanh, nn.LeakyReLU])
def test_a_dynamic_linear_layer_is_not_fused_with_what_only_a_static_one_can_be(activation: type[nn.Module]) -> None:
    rule = [{"name": "layers.0", "method": "dynamic"}]
    layers = [nn.Linear(4, 4), activation(), nn.Linear(4, 4), activation()]
    (fusion,) = fusions_of(layers, {"method": "static", "engine": "onednn", "layers": rule}, (64, 4))
    assert fusion.parts == ("layers.2", "layers.3")


def test_a_float_convolution_before_an_addition_does_not_keep_the_rest_from_int8() -> None:
    torch.manual_seed(0)
    model, inputs = Row([conv(2), nn.Linear(8, 8)], lambda x, a, b: b(a(x) + x), 2).eval(), torch.randn(16, 4, 8, 8)
    for recipe in (
        recipe_of("dynamic", "onednn"),
        recipe_of("static", "onednn", layers=[{"type": "Conv2d", "method": "float"}]),
    ):
        result = quantized(model, recipe, inputs)
        assert methods_of(result)["layers.1"] == recipe.method


def test_a_float_layer_is_listed_with_its_batch_norm_alone() -> None:
    recipe = {"method": "static", "layers": [{"name": "layers.0", "method": "float"}]}
    layers = [conv(2), norm(2), nn.ReLU()]
    (fusion,) = fusions_of(layers, recipe, SHAPES[2])
    assert (fusion.kind, fusion.parts) == ("Conv2d + BatchNorm2d", ("layers.0", "layers.1"))


def test_each_addition_is_part_of_the_convolution_it_was_fused_with() -> None:
    torch.manual_seed(0)

    def blocks(x: Tensor, first: nn.Module, second: nn.Module, relu: nn.Module) -> Tensor:
        x = relu(first(x) + x)
        return relu(second(x) + x)

    model, inputs = Row([conv(2), conv(2), nn.ReLU()], blocks, 2).eval(), torch.randn(SHAPES[2])
    result = quantized(model, recipe_of("static", "onednn"), inputs)
    assert [(fusion.name, fusion.parts[1]) for fusion in result.fusions] == [("layers.0", "add"), ("layers.1", "add_1")]
