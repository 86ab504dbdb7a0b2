"""Whether data fits a model and a recipe is decided on their specs, and said precisely."""

from __future__ import annotations

from typing import Any

import pytest

from octet.data.fit import check_batch, check_dataset
from octet.errors import FieldError, InvalidDatasetError, InvalidModelError
from octet.spec import ArraySpec, DatasetSpec, ProgramSpec, TensorSpec

PROGRAM = ProgramSpec(
    inputs=(
        TensorSpec(name="ids", dtype="int64", shape=("batch", "ids_dim1")),
        TensorSpec(name="mask", dtype="float32", shape=("batch", "ids_dim1")),
    ),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
    layers=(),
    parameters=0,
    torch_version="2.13.0",
)


def _dataset(samples: int = 5, **arrays: tuple[Any, ...]) -> DatasetSpec:
    fitting: dict[str, tuple[Any, ...]] = {"ids": ("int64", (samples, 7)), "mask": ("float32", (samples, 7))}
    specs = {
        name: ArraySpec(dtype=dtype, shape=shape, minimum=(*extremes, 0, 1)[0], maximum=(*extremes, 0, 1)[1])
        for name, (dtype, shape, *extremes) in {**fitting, **arrays}.items()
        if dtype
    }
    return DatasetSpec(samples=samples, arrays=specs)


@pytest.mark.parametrize(
    "dataset",
    [
        _dataset(),
        _dataset(ids=("int32", (5, 7)), mask=("float64", (5, 7))),
        _dataset(ids=("", ()), input_0=("int64", (5, 7))),
        _dataset(label=("uint8", (5,), 0, 2)),
        _dataset(target=("float64", (5, 3))),
    ],
    ids=["by name", "casts that lose nothing", "by position", "labels", "targets"],
)
def test_data_that_fits_is_accepted(dataset: DatasetSpec) -> None:
    check_dataset(dataset, PROGRAM, "evaluation")


MISFITS: dict[str, tuple[DatasetSpec, str, str]] = {
    "missing": (_dataset(mask=("", ())), "no array for the model's input 'mask'; it has ids", "'mask' or 'input_1'"),
    "misspelt": (_dataset(labels=("int64", (5,))), "'labels' belongs to no input", "Did you mean 'label'?"),
    "unknown": (_dataset(zzz=("int64", (5,))), "'zzz' belongs to no input", "ids, mask, label, target"),
    "dtype": (_dataset(ids=("float32", (5, 7))), "'ids' is float32; the model's input 'ids' takes int64", "astype"),
    "bytes": (_dataset(mask=("uint8", (5, 7))), "'mask' is uint8; the model's input 'mask' takes float32", "astype"),
    "rank": (_dataset(ids=("int64", (5, 7, 1))), r"samples of shape \[7, 1\]; .* takes \[ids_dim1\]", ""),
    "sizes that should agree": (_dataset(mask=("float32", (5, 8))), r"samples of shape \[8\]", ""),
    "empty": (_dataset(samples=0), "no samples", ""),
    "float labels": (_dataset(label=("float32", (5,))), "`label` is float32", "`target`"),
    "label shape": (_dataset(label=("int64", (5, 1))), r"`label` has shape \[5, 1\]", ""),
    "label too large": (_dataset(label=("int64", (5,), 0, 3)), "values from 0 to 3; the output 'logits' has 3", ""),
    "label negative": (_dataset(label=("int64", (5,), -1, 2)), "values from -1 to 2", ""),
    "target dtype": (_dataset(target=("int64", (5, 3))), "`target` is int64", "`label`"),
    "target shape": (_dataset(target=("float32", (5, 4))), r"shape \[4\]; the output 'logits' has \[3\]", ""),
}


@pytest.mark.parametrize("what", MISFITS)
def test_data_that_does_not_fit_says_what_was_found_and_what_is_needed(what: str) -> None:
    dataset, message, hint = MISFITS[what]
    with pytest.raises(InvalidDatasetError, match=message) as refused:
        check_dataset(dataset, PROGRAM, "calibration")
    error = refused.value
    assert error.message.startswith("As calibration data: ")
    assert hint in (error.hint or "")
    assert error.errors == (
        FieldError("/calibration", error.message.removeprefix("As calibration data: "), error.hint),
    )


def _taking(*shapes: tuple[int | str, ...]) -> ProgramSpec:
    inputs = tuple(
        TensorSpec(name=f"x{number}", dtype="float32", shape=shape) for number, shape in enumerate(shapes, start=1)
    )
    return PROGRAM.model_copy(update={"inputs": inputs})


@pytest.mark.parametrize("shapes", [(("batch", 3), ("batch",)), ((4, 3), (4,)), (("batch", 3), ("x2_dim0", 2))])
def test_inputs_that_begin_with_the_batch_can_be_run(shapes: tuple[tuple[int | str, ...], ...]) -> None:
    check_batch(_taking(*shapes))


@pytest.mark.parametrize("shapes", [((),), (("batch", 3), ()), (("batch", 3), (3,)), ((4, 3), (5, 3))])
def test_an_input_without_the_batch_of_the_others_is_named(shapes: tuple[tuple[int | str, ...], ...]) -> None:
    with pytest.raises(InvalidModelError, match=f"'x{len(shapes)}' has the shape"):
        check_batch(_taking(*shapes))


def test_data_for_a_model_without_a_batch_says_so() -> None:
    data = DatasetSpec(samples=9, arrays={"x1": ArraySpec(dtype="float32", shape=(9, 4))})
    with pytest.raises(InvalidDatasetError) as refused:
        check_dataset(data, _taking((4,)), "calibration")
    assert refused.value.hint is not None
    assert "exported without a batch" in refused.value.hint
