"""Whether a job has the data that its recipe needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octet.data.needs import check_data
from octet.errors import InvalidDatasetError
from octet.recipe import Recipe
from octet.spec import ArraySpec, DatasetSpec, ProgramSpec, TensorSpec

if TYPE_CHECKING:
    from octet.data.fit import Role

PROGRAM = ProgramSpec(
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
    layers=(),
    parameters=0,
    torch_version="2.13.0",
)
PLAIN = DatasetSpec(samples=5, arrays={"x": ArraySpec(dtype="float32", shape=(5, 4))})
LABELLED = DatasetSpec(
    samples=5, arrays={**PLAIN.arrays, "label": ArraySpec(dtype="int64", shape=(5,), minimum=0, maximum=2)}
)
VALUED = DatasetSpec(samples=5, arrays={**PLAIN.arrays, "target": ArraySpec(dtype="float32", shape=(5, 3))})

Case = tuple[dict[str, Any], dict["Role", DatasetSpec]]
NO_BUDGET = {"method": "auto"}
MIXTURE = {"distillation": 1.0, "cross_entropy": 0.5}
SYNTHETIC = {"source": "synthetic"}

ENOUGH: dict[str, Case] = {
    "dynamic needs nothing": ({"method": "dynamic"}, {}),
    "static, calibrated": ({"method": "static"}, {"calibration": PLAIN}),
    "static on made-up data": ({"method": "static", "calibration": SYNTHETIC}, {}),
    "distillation needs no labels": ({"method": "qat"}, {"calibration": PLAIN}),
    "labels for cross entropy": ({"method": "qat", "training": {"loss": "cross_entropy"}}, {"calibration": LABELLED}),
    "values for mse": ({"method": "qat", "training": {"loss": "mse"}}, {"calibration": VALUED}),
    "what training needs does not matter to static": ({"training": {"loss": "mse"}}, {"calibration": PLAIN}),
    "a budget of points": (NO_BUDGET, {"calibration": PLAIN, "evaluation": LABELLED}),
    "a budget of points, on calibration data": (NO_BUDGET, {"calibration": LABELLED}),
    "a budget of decibels": ({"method": "auto", "gates": {"min_sqnr_db": 20}}, {"calibration": PLAIN}),
    "weights alone, simulated": ({"method": "simulate", "activations": {"bits": None}}, {}),
}


@pytest.mark.parametrize("case", ENOUGH)
def test_a_job_with_all_that_its_recipe_needs_is_accepted(case: str) -> None:
    recipe, data = ENOUGH[case]
    check_data(PROGRAM, Recipe.parse(recipe), data)


LACKING: dict[str, tuple[dict[str, Any], dict[Role, DatasetSpec], str, str]] = {
    "static": ({"method": "static"}, {"evaluation": PLAIN}, "/calibration", "takes activation ranges from calibration"),
    "auto": ({"method": "auto"}, {"evaluation": LABELLED}, "/calibration", "method auto takes activation ranges"),
    "simulated activations": ({"method": "simulate"}, {}, "/calibration", "takes activation ranges"),
    "bias correction": ({"method": "dynamic", "repairs": {"correct_bias": True}}, {}, "/calibration", "ranges"),
    "cross entropy": (
        {"method": "qat", "training": {"loss": "cross_entropy"}},
        {"calibration": PLAIN, "evaluation": LABELLED},
        "/calibration",
        "cross_entropy needs an array `label`",
    ),
    "mse": ({"method": "qat", "training": {"loss": "mse"}}, {"calibration": LABELLED}, "/calibration", "`target`"),
    "a mixture": ({"method": "qat", "training": {"loss": MIXTURE}}, {"calibration": PLAIN}, "/calibration", "`label`"),
    "training on made-up data": (
        {"method": "qat", "training": {"loss": "cross_entropy"}, "calibration": SYNTHETIC},
        {"calibration": LABELLED},
        "/calibration",
        "`label`",
    ),
    "a search that may train": (
        {"method": "auto", "auto": {"qat": True}, "training": {"loss": "cross_entropy"}},
        {"calibration": PLAIN, "evaluation": LABELLED},
        "/calibration",
        "`label`",
    ),
    "a budget without labels": (NO_BUDGET, {"calibration": PLAIN}, "/evaluation", "no budget to go by"),
    "a budget on made-up data": (
        {**NO_BUDGET, "calibration": SYNTHETIC},
        {"calibration": LABELLED},
        "/evaluation",
        "no budget to go by",
    ),
    "a budget of points for values": (NO_BUDGET, {"calibration": VALUED}, "/evaluation", "no budget to go by"),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_is_lacking_is_named_with_the_role_it_belongs_to(case: str) -> None:
    recipe, data, pointer, words = LACKING[case]
    with pytest.raises(InvalidDatasetError, match=words) as refused:
        check_data(PROGRAM, Recipe.parse(recipe), data)
    assert [field.pointer for field in refused.value.errors] == [pointer]
    assert refused.value.hint
