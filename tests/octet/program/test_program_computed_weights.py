"""A weight that the graph computes of weights alone becomes the weight of a layer, which can then be int8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from pt2 import MODEL, changed, nodes
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

import octet
from octet.errors import InvalidModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from octet.program import Program

IMAGE, TOKENS = (2, 4, 9, 9), (2, 5, 8)


class Call(nn.Module):
    """Calls a function with itself, so that a test can write a model in one line; its weights are attributes."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **weights: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        for name, weight in weights.items():
            if isinstance(weight, nn.Parameter | nn.Module):
                setattr(self, name, weight)
            else:
                self.register_buffer(name, weight)

    def forward(self, x: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(self, x)


def parameter(*sizes: int) -> nn.Parameter:
    """A parameter of random numbers."""
    return nn.Parameter(torch.randn(sizes))


class StandardisedConv(nn.Conv2d):
    """As BiT and NFNet have it."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolves with the standardised weight."""
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class GainedConv(nn.Conv2d):
    """As NFNet has it, in plain arithmetic, with a gain."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Convolves with the standardised weight."""
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        scale = torch.rsqrt(self.weight.var((1, 2, 3), keepdim=True) + 1e-5) * self.gain
        return functional.conv2d(x, (self.weight - mean) * scale, self.bias)


class Symmetric(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        """The symmetric part."""
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def attention() -> nn.Module:
    """Attention whose packed projection is cut into three."""
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    return Call(lambda own, x: own.mha(x, x + 1, x * 2, need_weights=False)[0], mha=layer)


def lora() -> nn.Module:
    """A linear layer with a low-rank update."""
    return Call(
        lambda own, x: functional.linear(x, own.base.weight + own.b @ own.a * 0.5, own.base.bias),
        base=nn.Linear(8, 6),
        a=parameter(2, 8),
        b=parameter(6, 2),
    )


def beit() -> nn.Module:
    """A projection whose key has no bias."""
    return Call(
        lambda own, x: functional.linear(x, own.qkv.weight, torch.cat([own.q, torch.zeros_like(own.v), own.v])),
        qkv=nn.Linear(8, 12, bias=False),
        q=parameter(4),
        v=parameter(4),
    )


def rep_vgg() -> nn.Module:
    """Three branches summed into one convolution."""
    return Call(
        lambda own, x: functional.conv2d(
            x, own.wide.weight + functional.pad(own.narrow.weight, [1, 1, 1, 1]), own.wide.bias + own.narrow.bias
        ),
        wide=nn.Conv2d(4, 4, 3),
        narrow=nn.Conv2d(4, 4, 1),
    )


# name -> model, input sizes, and the paths and types of the layers it must have
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, str]]] = {
    "standardised": (lambda: nn.Sequential(StandardisedConv(4, 6, 3)), IMAGE, {"0": "Conv2d"}),
    "standardised with gain": (lambda: nn.Sequential(GainedConv(4, 6, 3)), IMAGE, {"0": "Conv2d"}),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv2d(4, 6, 3))), IMAGE, {"0": "Conv2d"}),
    "weight norm over time": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv1d(5, 6, 3), dim=2)),
        TOKENS,
        {"0": "Conv1d"},
    ),
    "spectral norm": (
        lambda: nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(4, 6, 3))),
        IMAGE,
        {"0": "Conv2d"},
    ),
    "own parametrization": (
        lambda: nn.Sequential(parametrize.register_parametrization(nn.Linear(8, 8), "weight", Symmetric())),
        TOKENS,
        {"0": "Linear"},
    ),
    "mask": (
        lambda: Call(
            lambda own, x: functional.linear(x, own.weight * own.mask), weight=parameter(6, 8), mask=torch.eye(6, 8)
        ),
        TOKENS,
        {"linear": "Linear"},
    ),
    "biases in parts": (beit, TOKENS, {"qkv": "Linear"}),
    "projection in parts": (
        attention,
        TOKENS,
        {"mha.in_proj": "Linear", "mha.in_proj_1": "Linear", "mha.in_proj_2": "Linear", "mha.out_proj": "Linear"},
    ),
    "scaled": (
        lambda: Call(lambda own, x: functional.linear(x, own.fc.weight * 0.3, own.fc.bias), fc=nn.Linear(8, 6)),
        TOKENS,
        {"fc": "Linear"},
    ),
    "low rank": (lora, TOKENS, {"base": "Linear"}),
    "branches": (rep_vgg, IMAGE, {"wide": "Conv2d"}),
    "one above a norm's weight": (
        lambda: Call(lambda own, x: functional.layer_norm(x, (8,), own.norm_weight + 1), norm_weight=parameter(8)),
        TOKENS,
        {"norm": "LayerNorm"},
    ),
    "kernel out of nothing": (
        lambda: Call(lambda _, x: functional.conv2d(x, torch.full((4, 1, 3, 3), 1 / 9), groups=4)),
        IMAGE,
        {"conv2d": "Conv2d"},
    ),
    "kernel for each channel": (
        lambda: Call(
            lambda own, x: functional.conv2d(x, own.blur.expand(4, 1, 3, 3), groups=4), blur=torch.randn(1, 1, 3, 3)
        ),
        IMAGE,
        {"blur": "Conv2d"},
    ),
    "embedding": (
        lambda: Call(
            lambda own, x: functional.embedding((x[..., 0] > 0).long(), own.table.weight * 2), table=nn.Embedding(3, 4)
        ),
        TOKENS,
        {"table": "Embedding"},
    ),
}


def read(model: nn.Module, x: Tensor, folder: Path) -> Program:
    """The model, exported and loaded."""
    return octet.load(octet.export(model, x, folder / "model.pt2"))


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_computed_of_weights_is_that_of_a_layer(name: str, tmp_path: Path) -> None:
    make, sizes, layers = MODELS[name]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(sizes)
    program = read(model, x, tmp_path)
    module = program.module()
    wide = torch.randn(3, *sizes[1:])
    with torch.no_grad():
        torch.testing.assert_close(module(wide), model(wide))
    assert {layer.name: layer.type for layer in program.layers} == layers
    assert "get_attr" not in {node.op for node in module.graph.nodes}
    for layer in program.layers:
        owned = module.get_submodule(layer.name).parameters()
        assert sum(weight.numel() for weight in owned if weight.requires_grad) == layer.parameters


PRODUCTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "matmul": lambda own, x: x @ own.matrix,
    "of the transpose": lambda own, x: x @ own.table.weight.T,
    "turned": lambda own, x: torch.einsum("bld,kd->blk", x, own.table.weight),
    "addmm": lambda own, x: torch.addmm(own.bias, x.reshape(-1, 8), own.matrix).reshape(x.shape[0], -1, 6),
    "mm": lambda own, x: torch.mm(x.reshape(-1, 8), own.matrix).reshape(x.shape[0], -1, 6),
    "einsum": lambda own, x: torch.einsum("bld,dk->blk", x, own.matrix),
    "einsum with an ellipsis": lambda own, x: torch.einsum("...d,dk->...k", x, own.matrix),
    "weight first": lambda own, x: own.matrix.T @ x.transpose(1, 2),
    "weight first of two": lambda own, x: torch.mm(own.matrix.T, x.reshape(-1, 8).T),
    "einsum with the weight first": lambda own, x: torch.einsum("dk,bld->blk", own.matrix, x),
    "einsum to several heads": lambda own, x: torch.einsum("bld,dhk->blhk", x, own.matrix.view(8, 2, 3)),
    "einsum to heads in another order": lambda own, x: torch.einsum("bld,dhk->blkh", x, own.matrix.view(8, 2, 3)),
    "einsum of several heads": lambda own, x: torch.einsum("blhk,ohk->blo", x.unflatten(-1, (2, 4)), own.heads),
    "tensordot": lambda own, x: torch.tensordot(x, own.matrix.view(8, 2, 3), dims=([-1], [0])),
    "tensordot over two": lambda own, x: torch.tensordot(x.unflatten(-1, (2, 4)), own.heads, dims=([2, 3], [1, 2])),
    "matmul of a slice": lambda own, x: x[..., :4] @ own.matrix[:4],
}
OTHERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a vector": lambda own, x: x[0, 0] @ own.matrix + x[:, 0, :6],
    "other factors": lambda own, x: torch.addmm(own.bias, x[:, 0], own.matrix, alpha=2),
    "a bias for each row": lambda own, x: torch.addmm(x[:, 0, :6], x[:, 1], own.matrix),
    "a sum over two": lambda own, x: torch.einsum("bld,dk->bk", x, own.matrix),
    "a diagonal": lambda own, x: torch.einsum("bld,dd->bld", x, own.square),
    "one value for all": lambda own, x: torch.einsum("bld,dk->blk", x[..., :1], own.matrix),
    "one value for all of a tensordot": lambda own, x: torch.tensordot(x[..., :1], own.matrix, dims=([-1], [0])),
    "a sum over the first": lambda own, x: torch.einsum("bld,lk->bdk", x, own.matrix[:5]),
    "a product for each head": lambda own, x: torch.einsum("bhk,ohk->bho", x.unflatten(-1, (2, 4))[:, 0], own.heads),
    "a matrix of the input": lambda _, x: x @ x.transpose(1, 2),
    "a buffer": lambda own, x: x @ own.fixed,
}


def _with_matrix(function: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    weights = {"matrix": parameter(8, 6), "bias": parameter(6), "table": nn.Embedding(6, 8), "fixed": torch.randn(8, 6)}
    weights["heads"] = parameter(6, 2, 4)
    weights["square"] = parameter(8, 8)
    return Call(function, **weights).eval()


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_with_a_matrix_of_weights_is_a_linear_layer(name: str, tmp_path: Path) -> None:
    model, x = _with_matrix(PRODUCTS[name]), torch.randn(TOKENS)
    program = read(model, x, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))
    assert [layer.type for layer in program.layers] == ["Linear"]
    assert program.layers[0].name in {"matrix", "table", "heads"}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_linear_layer_stays_a_product(name: str, tmp_path: Path) -> None:
    model, x = _with_matrix(OTHERS[name]), torch.randn(TOKENS)
    program = read(model, x, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))
    assert not program.layers


def test_a_transposed_weight_is_not_copied_and_stays_tied(tmp_path: Path) -> None:
    def tied(own: Any, x: Tensor) -> Tensor:
        ids = (x[..., 0] > 0).long()
        return (own.table(ids) @ own.matrix) @ own.matrix.T + own.table(ids) @ own.table.weight.T @ own.table.weight

    model = Call(tied, table=nn.Embedding(8, 8), matrix=parameter(8, 8)).eval()
    module = read(model, torch.randn(TOKENS), tmp_path).module()
    storages = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    assert len(storages) == len(("table", "matrix"))
    assert module.get_submodule("table").weight is module.get_submodule("table_1").weight


def test_a_layer_that_is_called_twice_stays_one_layer(tmp_path: Path) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = StandardisedConv(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    model, x = Twice().eval(), torch.randn(IMAGE)
    program = read(model, x, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))
    assert [layer.name for layer in program.layers] == ["conv"]


@pytest.mark.parametrize(
    "function",
    [
        lambda own, x: functional.linear(x, own.matrix.T * x.mean()),
        lambda own, x: functional.linear(x, own.matrix.T.clone().mul_(x.mean())),
        lambda own, x: functional.linear(x, own.matrix.T + x.shape[0]),
        lambda own, x: functional.linear(x, own.matrix.T, x[0, 0, :6]),
    ],
)
def test_a_weight_that_depends_on_the_input_is_none_of_a_layer(
    function: Callable[[Any, Tensor], Tensor], tmp_path: Path
) -> None:
    model, x = _with_matrix(function), torch.randn(TOKENS)
    program = read(model, x, tmp_path)
    other = torch.randn(3, *TOKENS[1:])
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), model(other))
    assert not program.layers


def test_overwriting_a_copy_of_a_weight_is_followed(tmp_path: Path) -> None:
    def masked(own: Any, x: Tensor) -> Tensor:
        weight = own.matrix.T.clone()
        once = functional.linear(x, weight)
        weight.mul_(own.fixed.T)
        return once + functional.linear(x, weight)

    model, x = _with_matrix(masked), torch.randn(TOKENS)
    program = read(model, x, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))
    assert [layer.name for layer in program.layers] == ["matrix", "matrix_1"]


def _scaled(tmp_path: Path) -> Path:
    model = Call(lambda own, x: functional.linear(x, own.weight.repeat(2, 1) * 0.3), weight=parameter(3, 8))
    return octet.export(model.eval(), torch.randn(TOKENS), tmp_path / "model.pt2")


def _repeat(document: Any) -> Any:
    return next(node for node in nodes(document) if "repeat" in node["target"])["inputs"][1]["arg"]


def test_a_file_that_lies_about_a_computed_shape_is_refused(tmp_path: Path) -> None:
    lying = changed(
        _scaled(tmp_path), tmp_path / "lying.pt2", MODEL, lambda document: _repeat(document).update(as_ints=[4, 1])
    )
    with pytest.raises(InvalidModelError, match="'weight' has another shape than the graph says"):
        octet.load(lying).module()


@pytest.mark.parametrize("times", [[2**40, 1], [2**62, 2**62], [2**27, 1], [-1, 1]])
def test_a_computed_weight_that_would_take_far_more_memory_than_the_file_is_refused(
    times: list[int], tmp_path: Path
) -> None:
    bomb = changed(
        _scaled(tmp_path), tmp_path / "bomb.pt2", MODEL, lambda document: _repeat(document).update(as_ints=times)
    )
    with pytest.raises(InvalidModelError, match="weight"):
        octet.load(bomb).module()


def test_many_computed_weights_that_are_held_at_once_are_counted_together(tmp_path: Path) -> None:
    def many(own: Any, x: Tensor) -> Tensor:
        parts = [own.weight.repeat(2**12, 2**6) * number for number in range(40)]  # 8 MiB each
        return functional.linear(x, sum(parts)[:1, :8])

    model = Call(many, weight=parameter(1, 8)).eval()
    path = octet.export(model, torch.randn(TOKENS), tmp_path / "model.pt2")
    with pytest.raises(InvalidModelError, match="more memory than those of the file"):
        octet.load(path).module()


def test_a_weight_of_more_elements_than_all_of_the_file_is_left_to_the_graph(tmp_path: Path) -> None:
    def wide(own: Any, x: Tensor) -> Tensor:
        return functional.linear(x, own.weight.expand(2**23, 8))[..., :4]

    program = read(Call(wide, weight=parameter(1, 8)).eval(), torch.randn(2, 1, 8), tmp_path)
    assert not program.layers


def test_a_chain_of_many_calls_is_followed_in_bounded_time(tmp_path: Path) -> None:
    def chain(document: Any) -> None:
        """A thousand further multiplications before the layer."""
        graph = document["graph_module"]["graph"]
        at, last = next((at, node) for at, node in enumerate(graph["nodes"]) if "mul" in node["target"])
        (result,) = (output["as_tensor"]["name"] for output in last["outputs"])
        name, added = last["inputs"][0]["arg"]["as_tensor"]["name"], []
        for number in range(1_000):
            source, name = name, f"link_{number}"
            inputs = [
                {**last["inputs"][0], "arg": {"as_tensor": {"name": source}}},
                {**last["inputs"][1], "arg": {"as_float": 1.0}},
            ]
            added.append({**last, "inputs": inputs, "outputs": [{"as_tensor": {"name": name}}]})
            graph["tensor_values"][name] = graph["tensor_values"][result]
        last["inputs"][0]["arg"]["as_tensor"]["name"] = name
        graph["nodes"][at:at] = added

    program = octet.load(changed(_scaled(tmp_path), tmp_path / "chain.pt2", MODEL, chain))
    assert len(list(program.module().graph.nodes)) == 3
