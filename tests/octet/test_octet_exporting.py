"""`octet.export` writes a `.pt2` with an open batch, or says why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import octet
from octet.errors import ExportFailedError, UnsupportedOperatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_batch_is_open_whatever_the_example_was(size: int, tmp_path: Path) -> None:
    path = octet.export(nn.Linear(4, 3), torch.randn(size, 4), tmp_path / "model.pt2")
    module = octet.load(path).module()
    assert [module(torch.randn(count, 4)).shape for count in (1, 5)] == [(1, 3), (5, 3)]


class Scorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, query: Tensor, documents: Tensor) -> Tensor:
        return self.linear(query) @ documents.transpose(0, 1)


def test_inputs_share_one_batch_where_they_can(tmp_path: Path) -> None:
    program = octet.load(octet.export(Scorer(), (torch.randn(3, 4), torch.randn(3, 4)), tmp_path / "model.pt2"))
    assert [tensor.shape for tensor in program.inputs] == [("batch", 4), ("batch", 4)]


def test_inputs_of_different_lengths_each_keep_their_own(tmp_path: Path) -> None:
    program = octet.load(octet.export(Scorer(), (torch.randn(3, 4), torch.randn(9, 4)), tmp_path / "model.pt2"))
    assert [tensor.shape for tensor in program.inputs] == [("batch", 4), ("documents_dim0", 4)]
    assert program.outputs[0].shape == ("batch", "documents_dim0")


def test_the_model_is_exported_in_eval_mode_and_left_as_it_was(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    model[2].eval()
    path = octet.export(model, torch.randn(2, 4), tmp_path / "model.pt2")
    assert [module.training for module in model.modules()] == [True, True, True, False]
    x = torch.randn(3, 4)
    torch.testing.assert_close(octet.load(path).module()(x), model.eval()(x))


def test_the_same_model_gives_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    first, second = (octet.export(model, x, tmp_path / name) for name in ("one.pt2", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pt2", "two"]


class Named(nn.Module):
    """Takes what models take: a tensor, a nested optional argument, a setting, keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(
        self, x: Tensor, boxes: dict[str, list[Tensor]] | None = None, *, scale: float = 1.0, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        y = self.linear(x) * scale
        if boxes is not None:
            y = y + boxes["corners"][0]
        return {"y": y if mask is None else torch.where(mask, y, 0.0)}

    def encode(self, x: Tensor) -> Tensor:
        return self.linear(x).relu()


def test_a_dict_of_examples_is_keyword_arguments(tmp_path: Path) -> None:
    model = Named().eval()
    mask = torch.tensor([[True, False, True, True]])
    program = octet.load(octet.export(model, {"mask": mask, "x": torch.randn(1, 4), "scale": 3.0}, tmp_path / "m.pt2"))
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in program.inputs} == {
        "x": ("float32", ("batch", 4)),
        "mask": ("bool", ("batch", 4)),
    }
    x = torch.randn(5, 4)
    values = {"x": x, "mask": mask}
    got = program.module()(*(values[tensor.name] for tensor in program.inputs))
    torch.testing.assert_close(got, model(x, scale=3.0, mask=mask)["y"])


def test_examples_may_be_nested_and_absent(tmp_path: Path) -> None:
    x = torch.randn(2, 4)
    program = octet.load(octet.export(Named(), (x, {"corners": [x]}), tmp_path / "nested.pt2"))
    assert [tensor.name for tensor in program.inputs] == ["x", "boxes.corners.0"]
    program = octet.load(octet.export(Named(), (x, None), tmp_path / "absent.pt2"))
    assert [tensor.name for tensor in program.inputs] == ["x"]


def test_a_method_of_a_module_is_exported_with_the_paths_of_the_module(tmp_path: Path) -> None:
    model = Named()
    program = octet.load(octet.export(model.encode, torch.randn(2, 4), tmp_path / "model.pt2"))
    assert next((layer.name, layer.type) for layer in program.layers) == ("linear", "Linear")
    assert isinstance(model(torch.randn(2, 4)), dict)


def test_wrappers_leave_no_trace_in_the_paths(tmp_path: Path) -> None:
    model = nn.DataParallel(nn.Sequential(nn.Linear(4, 4)))
    assert octet.load(octet.export(model, torch.randn(2, 4), tmp_path / "m.pt2")).layers[0].name == "0"


def test_named_tuples_come_out_by_their_names(tmp_path: Path) -> None:
    class Pair(NamedTuple):
        mean: Tensor
        top: Any

    program = octet.load(
        octet.export(Call(lambda x: Pair(x.mean(1), x.topk(2))), torch.randn(2, 4), tmp_path / "m.pt2")
    )
    assert [tensor.name for tensor in program.outputs] == ["mean", "top.values", "top.indices"]


class Masked(nn.Module):
    """As the tutorials write it: the mask is made in forward, and nothing says that it is causal."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x, mask=nn.Transformer.generate_square_subsequent_mask(x.size(1)))


def test_a_transformer_may_be_given_a_causal_mask(tmp_path: Path) -> None:
    model = Masked().eval()
    program = octet.load(octet.export(model, torch.randn(2, 5, 8), tmp_path / "model.pt2"))
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(program.module()(x), model(x))


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv(x) * mask


@pytest.mark.parametrize("key", ["x", 0])
def test_further_axes_are_open_on_request(key: str | int, tmp_path: Path) -> None:
    image = {2: "height", -1: "width"}
    path = octet.export(
        Image(),
        (torch.randn(1, 3, 8, 8), torch.ones(1, 1, 8, 8)),
        tmp_path / "model.pt2",
        dynamic_axes={key: image, "mask": image},
    )
    program = octet.load(path)
    assert [tensor.shape[:2] for tensor in program.inputs] == [("batch", 3), ("batch", 1)]
    assert program.inputs[0].shape[2:] == program.inputs[1].shape[2:]
    assert program.module()(torch.randn(3, 3, 6, 10), torch.ones(3, 1, 6, 10)).shape == (3, 4, 6, 10)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [({1: "batch"}, (2, "batch", 4)), ({0: "steps"}, ("batch", 3, 4)), ({0: None}, (2, 3, 4))],
    ids=["another axis is the batch", "no axis is the batch", "no axis is open"],
)
def test_the_batch_may_be_another_axis_or_none(
    axes: dict[int, str | None], shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    path = octet.export(nn.Linear(4, 4), torch.randn(2, 3, 4), tmp_path / "model.pt2", dynamic_axes={0: axes})
    sizes = octet.load(path).inputs[0].shape
    assert [isinstance(size, str) for size in sizes] == [isinstance(size, str) for size in shape]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"y": {1: "steps"}}, "dynamic_axes speaks of 'y', but the inputs are input."),
        ({1: {1: "steps"}}, "dynamic_axes speaks of 1, but the inputs are input."),
        ({"input": {3: "steps"}}, "dynamic_axes speaks of axis 3 of input, which has 2."),
        ({"input": {1: "the steps"}}, "'the steps' cannot name an axis."),
    ],
)
def test_axes_that_are_not_there_are_refused(
    axes: dict[str | int, dict[int, str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(nn.Linear(4, 3), torch.randn(2, 4), tmp_path / "model.pt2", dynamic_axes=axes)
    assert failed.value.message == message


def test_half_precision_is_exported_as_it_is(tmp_path: Path) -> None:
    path = octet.export(nn.Linear(4, 3).half(), torch.randn(2, 4).half(), tmp_path / "model.pt2")
    assert octet.load(path).module()(torch.randn(5, 4)).shape == (5, 3)


class Call(nn.Module):
    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Any:
        return self.call(x)


def _branch(x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def _item(x: Tensor) -> Tensor:
    return x[: int(x.abs().sum().item())]


def _numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sin(x.numpy()))


def _format(x: Tensor) -> Tensor:
    return x * len(f"{x.sum():.2f}")


@dataclass
class Scores:
    scores: Tensor


# what forward does -> words of the line that is named, of the reason, of the way out
STOPS: dict[str, tuple[Callable[[Tensor], Any], str, str, str]] = {
    "a branch on values": (_branch, "if x.sum() > 0:", "by the values of a tensor", "torch.where"),
    "a number from a tensor": (_item, "x.abs().sum().item()", "a number is taken out", "pad to a fixed size"),
    "numpy": (_numpy, "np.sin(x.numpy())", "NumPy array", "torch function"),
    "formatting": (_format, "x.sum():.2f", "printed or formatted", "out of forward"),
    "sparse tensors": (lambda x: torch.sparse.mm(x.to_sparse(), x.T), "x.to_sparse()", "no rule", "dense tensors"),
    "an object": (Scores, "", "cannot take apart", "register_dataclass"),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_stops_the_export_is_named_with_its_line_and_the_way_out(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call, code, reason, hint = STOPS[name]
    path = tmp_path / "model.pt2"
    path.write_bytes(b"what was there before")
    with pytest.raises(ExportFailedError) as failed:
        octet.export(Call(call), torch.randn(2, 4), path)
    assert failed.value.message.startswith("Call could not be exported")
    assert code in failed.value.message
    assert not code or f"{__file__}:" in failed.value.message
    assert reason in failed.value.message
    assert hint in str(failed.value.hint)
    assert "def forward" not in capfd.readouterr().err
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("call", "code", "hint"),
    [
        (lambda x: x + torch.zeros(5), "torch.zeros(5)", "what its forward takes"),
        (lambda x: x + torch.zeros(4, device="meta"), 'device="meta"', "device=x.device"),
    ],
    ids=["another shape", "another device"],
)
def test_a_model_that_does_not_run_on_the_examples_is_told_so(
    call: Callable[[Tensor], Tensor], code: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(Call(call), torch.randn(2, 4), tmp_path / "model.pt2")
    assert failed.value.message.startswith(f"Call does not run on these example inputs at {__file__}:")
    assert code in failed.value.message
    assert hint in str(failed.value.hint)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda x: x.reshape(2, -1) * 2, "x.reshape(2, -1)"),
        (lambda x: x.reshape((2, 8)) * 2, "x.reshape((2, 8))"),
        (lambda x: torch.stack([row * 2 for row in x]), "for row in x"),
        (lambda x: x + torch.zeros(2, 8), "torch.zeros(2, 8)"),
    ],
)
def test_a_line_that_fixes_the_batch_is_named(call: Callable[[Tensor], Tensor], code: str, tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(Call(call), torch.randn(2, 8), tmp_path / "model.pt2")
    assert "Call fixes the batch size (axis 0 of x) at 2" in failed.value.message
    assert code in failed.value.message
    assert "x.size(0)" in str(failed.value.hint)


class FixedMask(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        kept = x * mask
        mask = mask.reshape(2, -1)
        return kept + x


def test_the_line_is_named_that_fixes_a_size_not_one_that_comes_upon_it(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(FixedMask(), (torch.randn(2, 8), torch.randn(2, 8)), tmp_path / "model.pt2")
    assert "mask.reshape(2, -1)" in failed.value.message


def test_a_line_that_fixes_an_axis_asked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(
            Call(lambda x: x.flatten(1) @ torch.ones(24, 2)),
            torch.randn(2, 4, 6),
            tmp_path / "model.pt2",
            dynamic_axes={"x": {2: "steps"}},
        )
    assert "fixes the steps size (axis 2 of x) at 6 at " in failed.value.message
    assert "torch.ones(24, 2)" in failed.value.message


def test_a_line_that_treats_batches_differently_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError) as failed:
        octet.export(Call(lambda x: x if x.size(0) > 3 else x * 2), torch.randn(4, 4), tmp_path / "model.pt2")
    assert "goes another way for some values of the batch size (axis 0 of x) at " in failed.value.message
    assert "x.size(0) > 3" in failed.value.message


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((), "missing a required argument: 'input'"),
        ((torch.randn(2, 4), 3), "too many positional arguments"),
        ({"x": torch.randn(2, 4)}, "missing a required argument: 'input'"),
        ((3,), "There is no tensor among the example inputs"),
        ((torch.tensor(1.0),), "has no sample along its open axes"),
        ((torch.randn(0, 4),), "has no sample along its open axes"),
    ],
)
def test_examples_that_cannot_be_run_are_refused(inputs: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match=words):
        octet.export(nn.Linear(4, 3), inputs, tmp_path / "model.pt2")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript is deprecated, and this is about refusing it
@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda: torch.jit.script(nn.Linear(4, 3)), "is a TorchScript module", "load_state_dict"),
        (lambda: torch.export.export(nn.Linear(4, 3), (torch.randn(2, 4),)), "exported already", "torch.export.save"),
        (lambda: nn.Linear(4, 3).state_dict(), "not a OrderedDict", "state dict"),
        (lambda: torch.relu, "not a builtin_function_or_method", "the forward of a module"),
    ],
    ids=["TorchScript", "an exported program", "a state dict", "a function"],
)
def test_what_is_no_module_is_refused_with_the_way_to_one(
    make: Callable[[], Any], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailedError, match=message) as failed:
        octet.export(make(), torch.randn(2, 4), tmp_path / "model.pt2")
    assert hint in str(failed.value.hint)


@torch.library.custom_op("octet_tests::double", mutates_args=())
def double(x: Tensor) -> Tensor:
    return x * 2


double.register_fake(torch.empty_like)


def test_a_model_that_octet_cannot_take_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"octet_tests.double.*self.call\(x\)"):
        octet.export(Call(double), torch.randn(2, 4), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said_before_anything_is_exported(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="does not exist"):
        octet.export(nn.Linear(4, 3), torch.randn(2, 4), tmp_path / "missing" / "model.pt2")


def test_an_example_that_is_part_of_a_large_tensor_does_not_make_the_file_large(tmp_path: Path) -> None:
    whole = torch.randn(100_000, 4)
    octet.export(torch.nn.Linear(4, 2), (whole[:2],), tmp_path / "small.pt2")
    assert (tmp_path / "small.pt2").stat().st_size < whole.nbytes / 10
