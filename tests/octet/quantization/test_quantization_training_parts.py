"""What goes on in a training: rates, what stands still, losses, norms, and what its owner is told."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from quantizing import quantized, recipe_of, samples_of, sqnr_of, trace
from tiny_models import inputs_of, make
from torch import Tensor, nn

from octet.data.samples import Batch
from octet.quantization import Quantized, quantize_module, use_engine
from octet.quantization.observers import OBSERVERS
from octet.quantization.training.checkpoint import restore, state_of
from octet.quantization.training.clock import in_words
from octet.quantization.training.fakes import Fake
from octet.quantization.training.freezing import Freezing
from octet.quantization.training.losses import Loss
from octet.quantization.training.schedule import OPTIMIZERS, schedule
from octet.recipe import LossName, Recipe, Training

if TYPE_CHECKING:
    from torch.fx import GraphModule


def rates(**training: Any) -> list[float]:
    """The learning rate of each of 20 steps, as shares of the highest."""
    parsed = Training.model_validate({"learning_rate": 0.5, **training})
    optimizer = OPTIMIZERS[parsed.optimizer]([nn.Parameter(torch.zeros(1))], parsed)
    plan, found = schedule(optimizer, parsed, 20, 0), []
    for _ in range(20):
        found.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        plan.step()
    return found


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    found = rates(warm_up=0.2)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4] == pytest.approx(1.0)
    assert found[12] == pytest.approx(0.5)
    assert all(before > after > 0 for before, after in pairwise(found[4:]))


def test_a_constant_rate_stays_after_warm_up() -> None:
    assert rates(warm_up=0.1, schedule="constant") == pytest.approx([0.5, *[1.0] * 19])
    assert rates(warm_up=0.0, schedule="constant") == pytest.approx([1.0] * 20)


@pytest.mark.parametrize(
    ("training", "kind"),
    [
        ({"weight_decay": 0.1}, torch.optim.SGD),
        ({"optimizer": "adamw", "weight_decay": 0.1}, torch.optim.AdamW),
    ],
)
def test_the_optimizer_is_what_the_recipe_says(training: dict[str, Any], kind: type) -> None:
    parsed = Training.model_validate(training)
    optimizer = OPTIMIZERS[parsed.optimizer]([nn.Parameter(torch.zeros(1))], parsed)
    assert isinstance(optimizer, kind)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def changed(result: Quantized, model: nn.Module) -> float:
    """How far training moved the weights of a model whose layers keep their names."""
    now, before = dict(result.observed.named_parameters()), dict(model.named_parameters())
    return max((now[name] - before[name]).abs().max().item() for name in before)


def test_a_gradient_is_clipped_to_the_norm_of_the_recipe() -> None:
    inputs = inputs_of("mlp", 32)
    training = {"validation": 0, "batch_size": 32, "warm_up": 0, "schedule": "constant", "learning_rate": 1.0}
    for limit in (1e-3, 1e-5):
        recipe = recipe_of("qat", training={**training, "clip_gradient": limit})
        assert 0 < changed(quantized(make("mlp"), recipe, inputs), make("mlp")) <= limit


def statistics(result: Quantized) -> list[Tensor]:
    return [module.running_mean for module in result.observed.modules() if isinstance(module, nn.BatchNorm2d)]


def test_statistics_of_batch_norms_stand_still_from_the_share_of_the_recipe_on() -> None:
    inputs, before = inputs_of("residual", 33), [module.running_mean for module in make("residual").modules()
                                                 if isinstance(module, nn.BatchNorm2d)]  # fmt: skip
    found = {}
    for share in (0.0, 0.5, 1.0):  # a last batch of one sample, which has no variance, changes nothing
        training = {"freeze_batch_norm": share, "validation": 0, "epochs": 2}
        found[share] = statistics(quantized(make("residual"), recipe_of("qat", training=training), inputs))
    assert all(torch.equal(now, then) for now, then in zip(found[0.0], before, strict=True))
    assert not any(torch.equal(now, then) for now, then in zip(found[0.5], before, strict=True))
    assert not any(torch.equal(now, then) for now, then in zip(found[0.5], found[1.0], strict=True))


def scales(result: Quantized) -> dict[str, Tensor]:
    return {name: buffer for name, buffer in result.observed.named_buffers() if name.endswith(".scale")}


def test_ranges_stand_still_from_the_share_of_the_recipe_on() -> None:
    inputs = inputs_of("mlp", 32)
    found = {}
    for share in (0.0, 0.5, 1.0):
        training = {"freeze_observers": share, "validation": 0, "epochs": 2, "learning_rate": 0.1}
        found[share] = scales(quantized(make("mlp"), recipe_of("qat", training=training), inputs))
    untrained = {"freeze_observers": 0, "validation": 0, "learning_rate": 1e-30}
    calibrated = scales(quantized(make("mlp"), recipe_of("qat", training=untrained), inputs))
    assert found[0.0].keys() == found[1.0].keys() == calibrated.keys()
    assert all(torch.equal(found[0.0][name], calibrated[name]) for name in calibrated)
    assert not any(torch.equal(found[0.0][name], found[0.5][name]) for name in calibrated)
    assert not any(torch.equal(found[0.5][name], found[1.0][name]) for name in calibrated)


def test_ranges_stand_still_at_the_end_whatever_state_was_restored() -> None:
    fake = Fake(observer=OBSERVERS["minmax", "per_tensor"], quant_min=0, quant_max=255, dtype=torch.quint8)
    module = nn.Sequential(nn.Linear(2, 2), fake)
    freezing = Freezing(module, Training(), 2)
    freezing.before(0, 8)
    following = state_of(module)
    freezing.before(1, 8)
    restore(module, following)
    assert fake.observer_enabled[0] == 1
    freezing.stop()
    assert fake.observer_enabled[0] == 0


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_training_starts_from_the_ranges_that_calibration_found(observer: str, power_of_two: bool) -> None:
    inputs = inputs_of("mlp", 32)
    activations = {"observer": observer, "power_of_two": power_of_two}
    static = recipe_of("static", activations=activations)
    qat = recipe_of("qat", activations=activations, training={"learning_rate": 1e30})  # nothing of it is kept
    with torch.no_grad():
        wanted = quantized(make("mlp"), static, inputs).scripted(inputs)
        torch.testing.assert_close(quantized(make("mlp"), qat, inputs).scripted(inputs), wanted)


def test_a_mixture_is_the_weighted_sum_of_its_losses() -> None:
    teacher = trace(nn.Linear(4, 3).eval())
    batch = Batch((torch.randn(6, 4),), torch.arange(6) % 3, count=5)
    outputs = (torch.randn(5, 3),)

    def loss(shares: dict[LossName, float]) -> float:
        return Loss(shares, teacher).of(outputs, batch).item()

    parts = (loss({"distillation": 1.0}), loss({"cross_entropy": 1.0}))
    assert loss({"distillation": 2.0, "cross_entropy": 0.5}) == pytest.approx(2 * parts[0] + 0.5 * parts[1])
    wanted = teacher(batch.inputs[0][:5])
    assert parts[0] == pytest.approx(((outputs[0] - wanted).square().sum() / wanted.square().sum()).item())


class Masked(nn.Module):
    """Two outputs, of which one has scores that are masked out, and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first: Tensor = self.one(x)
        return torch.masked_fill(first, x > 0.5, float("-inf")), self.two(x), first.mean()


def test_distillation_is_of_every_output_and_leaves_out_what_fp32_makes_infinite() -> None:
    torch.manual_seed(0)
    model = Masked().eval()
    training = {"validation": 0, "epochs": 2}
    result = quantized(model, recipe_of("qat", training=training), torch.randn(32, 8))
    assert [epoch.number for epoch in result.epochs if epoch.loss is None or epoch.loss < 0.1] == [0, 1, 2]
    moved = {name.split(".")[0] for name, now in result.observed.named_parameters()
             if not torch.equal(now, model.get_parameter(name))}  # fmt: skip
    assert moved == {"one", "two"}


def dead_channels() -> nn.Module:
    """A model with norms as pruning, and as the usual initialization of residual blocks, leave them."""
    model = make("residual")
    with torch.no_grad():
        model.get_parameter("bn2.weight").zero_()
        model.get_parameter("bn1.weight")[2] = 1e-30
    return model


def test_norms_of_weight_zero_can_be_trained() -> None:
    inputs, recipe = inputs_of("residual", 64), recipe_of("qat", training={"epochs": 2, "validation": 0})
    result = quantized(dead_channels(), recipe, inputs)
    assert result.plan.warnings == ()
    assert sqnr_of(dead_channels(), result, recipe, inputs) > 25


@pytest.mark.parametrize("repair", ["equalize", "correct_bias", "clip_weights"])
def test_a_repaired_model_can_be_trained(repair: str) -> None:
    inputs = inputs_of("residual", 64)
    recipe = recipe_of("qat", training={"epochs": 1, "validation": 0}, repairs={repair: True})
    result = quantized(make("residual"), recipe, inputs)
    assert [epoch.number for epoch in result.epochs] == [0, 1]
    assert sqnr_of(make("residual"), result, recipe, inputs) > 25


def messages(model: GraphModule, inputs: Tensor, recipe: Recipe) -> list[tuple[float, str]]:
    """What a training tells of itself."""
    told: list[tuple[float, str]] = []
    samples = samples_of(inputs)

    def on_stage(stage: str, share: float, message: str) -> None:
        if stage == "train":
            told.append((share, message))

    with use_engine(recipe.engine):
        quantize_module(model, recipe, inputs=(inputs[:4],), calibration=samples, training=samples, on_stage=on_stage)
    return told


def test_progress_says_the_epoch_the_loss_and_how_long_it_takes() -> None:
    recipe = recipe_of("qat", training={"epochs": 2, "validation": 0.2})
    told = messages(trace(make("mlp")), inputs_of("mlp", 40), recipe)
    left = r"about \d+ (s|min|h) left"
    assert all(re.fullmatch(rf"epoch \d of 2, (loss [\d.e-]+|validating), {left}", message) for _, message in told)
    whats = [re.sub(r"loss.*", "learning", message).split(", about")[0] for _, message in told]
    learning = [[f"epoch {number} of 2, learning"] * 4 + [f"epoch {number} of 2, validating"] for number in (1, 2)]
    assert whats == ["epoch 0 of 2, validating", *learning[0], *learning[1]]
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


class Lopsided(nn.Module):
    """One of its layers has no use for the first value: where that is huge, eight bits hold nothing for this layer."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.zeros_(self.near.weight[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return self.near(x) + self.far(x)


def test_a_kernel_that_fails_with_the_ranges_of_all_data_does_not_cost_a_training() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 8)
    inputs[16:, 0] *= 1e6
    training = {"epochs": 1, "validation": 0}
    recipe = recipe_of("qat", "qnnpack", activations={"observer": "minmax"}, training=training)
    told = messages(trace(Lopsided().eval()), inputs, recipe)
    assert [share for share, _ in told] == [batch / 8 for batch in range(1, 9)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s left"), (42.3, "about 42 s left"), (170, "about 3 min left"), (9000, "about 2 h left")],
)
def test_durations_are_told_as_people_do(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA")
def test_training_on_cuda_gives_the_same_model_each_time_and_leaves_it_on_the_cpu() -> None:
    inputs = inputs_of("mlp", 64)
    recipe = recipe_of("qat", training={"epochs": 2, "validation": 0.2, "device": "cuda"})
    first, again = (quantized(make("mlp"), recipe, inputs) for _ in range(2))
    assert first.epochs == again.epochs
    assert {buffer.device.type for buffer in first.observed.buffers()} == {"cpu"}
    with torch.no_grad():
        assert torch.equal(first.scripted(inputs), again.scripted(inputs))
    assert not torch.are_deterministic_algorithms_enabled()
