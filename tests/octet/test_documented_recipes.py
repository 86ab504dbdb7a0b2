"""Every recipe of docs/recipes does what it says, on a small model of the kind that it is for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from documented_models import program_and_data

import octet

if TYPE_CHECKING:
    from collections.abc import Callable

    from octet.report import LayerFacts

FOLDER = Path(__file__).parents[2] / "docs" / "recipes"
FILES = sorted(FOLDER.glob("*.yaml"))


class Case(NamedTuple):
    """The model that a recipe is run on, what it is about, and whether the data has labels."""

    model: str
    check: Callable[[octet.Result], None]
    labelled: bool = False


def methods(result: octet.Result) -> dict[str, str]:
    return {layer.name: layer.method for layer in result.report.layers}


def layers(result: octet.Result) -> dict[str, LayerFacts]:
    return {layer.name: layer for layer in result.report.layers}


def fusions(result: octet.Result) -> set[str]:
    return {fusion.kind for fusion in result.report.fusions}


def linear_layers_are_dynamic(result: octet.Result) -> None:
    assert methods(result) == {"fc1": "dynamic", "fc2": "dynamic"}
    assert result.report.calibration is None


def lstm_and_decoder_are_dynamic(result: octet.Result) -> None:
    assert methods(result) == {"embedding": "dynamic", "lstm": "dynamic", "head": "dynamic"}
    assert result.report.verdict == "passes"


def every_projection_is_dynamic(result: octet.Result) -> None:
    found = {layer.name: layer.method for layer in result.report.layers if layer.type == "Linear"}
    assert found == dict.fromkeys(("query", "key", "value", "out", "up", "down", "head"), "dynamic")


def conv_and_relu_are_one_kernel(result: octet.Result) -> None:
    assert methods(result) == {"conv": "static"}
    assert fusions(result) == {"Conv2d + ReLU"}


def inverted_residuals_are_static_with_their_sum(result: octet.Result) -> None:
    assert set(methods(result).values()) == {"static"}
    assert {fusion.name for fusion in result.report.fusions} >= {"expand.0", "filter.0", "project.0"}
    assert "quantized.add" in result.module.code


def shortcuts_are_part_of_convolutions(result: octet.Result) -> None:
    assert set(methods(result).values()) == {"static"}
    assert "Conv2d + BatchNorm2d + add + ReLU" in fusions(result)


def training_chose_an_epoch(result: octet.Result) -> None:
    assert set(methods(result).values()) == {"qat"}
    assert [epoch.number for epoch in result.report.training] == [0, 1, 2]
    assert sum(epoch.chosen for epoch in result.report.training) == 1
    assert "Conv2d + BatchNorm2d + ReLU" in fusions(result)


def named_layers_are_in_float(result: octet.Result) -> None:
    found = layers(result)
    assert [found[name].method for name in ("fc", "stem.0", "conv1")] == ["float", "float", "static"]
    assert found["fc"].reason == found["stem.0"].reason == "the recipe says so"


def layers_of_the_type_are_in_float(result: octet.Result) -> None:
    found = layers(result)
    assert [found[name].method for name in ("fc", "stem.0", "conv1", "conv2")] == [
        "float",
        "static",
        "static",
        "static",
    ]
    assert found["fc"].reason == "the recipe says so"


def every_layer_has_its_errors(result: octet.Result) -> None:
    report = result.report
    int8 = [layer for layer in report.layers if layer.weight_sqnr_db is not None]
    assert {layer.name for layer in int8} >= {"stem.0", "conv1", "conv2", "fc"}
    for layer in int8:
        assert None not in (layer.activation_sqnr_db, layer.own_sqnr_db, layer.input_range, layer.output_range)
    assert sorted(layer.rank for layer in int8 if layer.rank) == list(range(1, len(int8) + 1))
    assert report.sensitivity is not None
    assert {layer.name for layer in report.sensitivity.layers} >= {"conv1", "conv2", "fc"}
    assert report.sensitivity.curve[0].float_layers == 0
    assert report.verdict == "passes"


def ranges_are_of_least_squared_error(result: octet.Result) -> None:
    assert set(methods(result).values()) == {"static"}
    assert result.report.fidelity.sqnr_db is not None
    assert result.report.fidelity.sqnr_db > 20


def activations_use_7_bits(result: octet.Result) -> None:
    assert result.report.engine.reduce_range
    assert result.report.engine.cpu_flags == ("avx2",)


def the_engine_is_not_of_this_cpu(result: octet.Result) -> None:
    assert not result.report.engine.reduce_range
    assert result.report.engine.native == result.report.latency[0].representative
    assert set(methods(result).values()) == {"static"}


def activations_use_8_bits(result: octet.Result) -> None:
    assert result.report.engine.name == "x86"
    assert not result.report.engine.reduce_range


def tables_have(bits: int) -> Callable[[octet.Result], None]:
    def check(result: octet.Result) -> None:
        found = layers(result)
        assert [found[name].bits for name in ("words", "topics")] == [bits, bits]
        assert "float" not in methods(result).values()
        assert result.report.calibration is None

    return check


def recurrent_layers_are_dynamic_and_the_rest_static(result: octet.Result) -> None:
    assert methods(result) == {"conv": "static", "gru": "dynamic", "lstm": "dynamic", "head": "static"}


def the_lstm_is_static(result: octet.Result) -> None:
    assert methods(result)["lstm"] == "static"


def onednn_fuses_what_others_do_not(result: octet.Result) -> None:
    assert fusions(result) >= {"Conv2d + add + ReLU", "Linear + LeakyReLU", "Linear + Tanh"}


def scales_are_powers_of_two(result: octet.Result) -> None:
    scales = [float(part.scale) for part in result.module.modules() if isinstance(getattr(part, "scale", None), float)]
    weights = [part.weight() for part in result.module.modules() if callable(getattr(part, "weight", None))]
    scales += [float(scale) for weight in weights for scale in weight.q_per_channel_scales()]
    assert len(scales) > 10
    assert all(math.log2(scale).is_integer() for scale in scales)


def repairs_are_listed_and_rescue_the_model(result: octet.Result) -> None:
    assert [repair.repair for repair in result.report.repairs] == ["equalize", "clip_weights", "correct_bias"]
    assert set(result.report.repairs[0].layers) >= {"expand", "filter"}
    assert result.report.fidelity.sqnr_db is not None
    assert result.report.fidelity.sqnr_db > 20


def every_trial_is_kept(result: octet.Result) -> None:
    search = result.report.search
    assert search is not None
    assert search.met
    assert 2 <= len(search.trials) <= 12
    assert sum(trial.chosen for trial in search.trials) == 1
    assert any(trial.pareto for trial in search.trials)


def each_tensor_has_its_error(result: octet.Result) -> None:
    tensors = result.report.simulated
    assert {tensor.kind: tensor.bits for tensor in tensors} == {"weight": 4, "activation": 8}
    assert all(0 < tensor.relative_error < 0.3 for tensor in tensors)


CASES = {
    "auto": Case("residual", every_trial_is_kept, labelled=True),
    "compare-by-sqnr": Case("residual", every_layer_has_its_errors),
    "conv-gru-lstm": Case("conv-gru-lstm", recurrent_layers_are_dynamic_and_the_rest_static),
    "dynamic-bert": Case("encoder", every_projection_is_dynamic),
    "dynamic-linear": Case("mlp", linear_layers_are_dynamic),
    "dynamic-lstm": Case("lstm", lstm_and_decoder_are_dynamic),
    "embedding-4-bit": Case("tables", tables_have(4)),
    "embedding-8-bit": Case("tables", tables_have(8)),
    "engine-fbgemm": Case("residual", activations_use_7_bits),
    "engine-qnnpack": Case("residual", the_engine_is_not_of_this_cpu),
    "full-range": Case("residual", activations_use_8_bits),
    "fused-onednn": Case("fusible", onednn_fuses_what_others_do_not),
    "observers": Case("residual", ranges_are_of_least_squared_error),
    "power-of-two": Case("residual", scales_are_powers_of_two),
    "qat-conv-bn-relu": Case("residual", training_chose_an_epoch, labelled=True),
    "qat-distillation": Case("residual", training_chose_an_epoch),
    "repairs": Case("uneven", repairs_are_listed_and_rescue_the_model),
    "simulate-4-bit": Case("residual", each_tensor_has_its_error),
    "skip-by-name": Case("residual", named_layers_are_in_float),
    "skip-by-type": Case("residual", layers_of_the_type_are_in_float),
    "static-conv-relu": Case("conv-relu", conv_and_relu_are_one_kernel),
    "static-lstm": Case("one-way-lstm", the_lstm_is_static),
    "static-mobilenet": Case("mobilenet", inverted_residuals_are_static_with_their_sum),
    "static-resnet": Case("residual", shortcuts_are_part_of_convolutions),
}
"""By the recipe's file name."""


@pytest.mark.filterwarnings("ignore:TorchScript will treat type annotations of Tensor")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_documented_recipe_does_what_it_says(file: Path, tmp_path: Path) -> None:
    model, check, labelled = CASES[file.stem]
    recipe = octet.Recipe.load(file)
    program, data = program_and_data(model, tmp_path, labelled=labelled)
    quick = recipe.model_copy(update={"measure": recipe.measure.model_copy(update={"seconds": 0.05})})
    given = data if recipe.needs_calibration else None
    check(octet.quantize(program, quick, calibration=given, evaluation=data))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_documented_recipe_says_whose_counterpart_it_is_and_how_to_run_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "# Counterpart of:" in text
    assert f"--recipe docs/recipes/{file.name}" in text
    assert f"]({file.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_case_has_its_recipe() -> None:
    assert {file.stem for file in FILES} == CASES.keys()
