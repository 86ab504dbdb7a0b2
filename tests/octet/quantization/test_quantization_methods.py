"""Every method on every engine, for every family of models."""

from __future__ import annotations

import pytest
import torch
from quantizing import methods_of, quantized, recipe_of, sqnr_of
from tiny_models import MODELS, inputs_of, make
from torch import nn

from octet import torchscript
from octet.engines import ENGINE_NAMES
from octet.errors import QuantizationFailedError
from octet.quantization import use_engine

INT8_LAYERS = {
    ("residual", "static"): {"stem.0": "static", "conv1": "static", "conv2": "static", "fc": "static"},
    ("residual", "dynamic"): {"fc": "dynamic"},
    ("mlp", "static"): {"fc1": "static", "fc2": "static"},
    ("mlp", "dynamic"): {"fc1": "dynamic", "fc2": "dynamic"},
    ("conv-gru", "static"): {"conv": "static", "gru": "dynamic", "head": "static"},
    ("conv-gru", "dynamic"): {"gru": "dynamic", "head": "dynamic"},
    ("lstm", "static"): {"embedding": "dynamic", "lstm": "dynamic", "head": "static"},
    ("lstm", "dynamic"): {"embedding": "dynamic", "lstm": "dynamic", "head": "dynamic"},
    ("encoder", "static"): dict.fromkeys(("query", "key", "value", "out", "up", "down", "head"), "static"),
    ("encoder", "dynamic"): dict.fromkeys(("query", "key", "value", "out", "up", "down", "head"), "dynamic"),
}


@pytest.mark.parametrize("engine", ENGINE_NAMES)
@pytest.mark.parametrize("method", ["dynamic", "static", "qat"])
@pytest.mark.parametrize("family", MODELS)
def test_layers_run_in_int8_and_outputs_stay_close(family: str, method: str, engine: str) -> None:
    model, inputs, recipe = make(family), inputs_of(family), recipe_of(method, engine)
    result = quantized(model, recipe, inputs)
    expected = INT8_LAYERS[family, "dynamic" if method == "dynamic" else "static"]
    assert {name: kind for name, kind in methods_of(result).items() if kind != "float"} == expected
    # A scale that is off by a factor of two costs 6 dB and more; 8-bit noise alone leaves well over 20.
    assert sqnr_of(model, result, recipe, inputs) > 20


@pytest.mark.parametrize("engine", ["x86", "onednn"])
@pytest.mark.parametrize(
    ("method", "rule"), [("static", ("0", "dynamic")), ("qat", ("0", "dynamic")), ("dynamic", ("2", "static"))]
)
def test_a_dynamic_layer_stays_so_before_a_static_one(method: str, rule: tuple[str, str], engine: str) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval(), torch.randn(16, 8)
    recipe = recipe_of(method, engine, layers=[{"name": rule[0], "method": rule[1]}])
    result = quantized(model, recipe, inputs)
    assert methods_of(result) == {"0": "dynamic", "2": "static"}
    assert sqnr_of(model, result, recipe, inputs) > 20


def test_the_int8_model_is_smaller_as_a_file() -> None:
    wide = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256)).eval()
    result = quantized(wide, recipe_of("static"), torch.randn(16, 256))
    with use_engine("x86"):
        fp32, int8 = torchscript.saved_bytes(torchscript.script(wide)), torchscript.saved_bytes(result.scripted)
    assert fp32 > 3 * int8


def test_the_model_given_is_left_as_it_is() -> None:
    model, inputs = make("residual"), inputs_of("residual")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantized(model, recipe_of("qat"), inputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training


def test_the_engine_is_put_back_whatever_happens() -> None:
    before = torch.backends.quantized.engine
    with use_engine("qnnpack"):
        assert torch.backends.quantized.engine == "qnnpack"
    assert torch.backends.quantized.engine == before
    with pytest.raises(KeyError), use_engine("qnnpack"):
        raise KeyError
    assert torch.backends.quantized.engine == before


def test_an_engine_that_torch_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(QuantizationFailedError, match=r"no engine 'tpu'.*x86"), use_engine("tpu"):
        pass
