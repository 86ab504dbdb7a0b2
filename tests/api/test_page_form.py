"""The form of a new job: what each method asks for, and recipes of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from browsing import BROWSER
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    import httpx

pytestmark = BROWSER

RECIPE = "Keys in JSON"


@pytest.fixture
def form(signed_in: Page, model: str) -> Page:
    """The form with a model chosen, and the place for a recipe open."""
    signed_in.reload()
    signed_in.get_by_label("or take one that is here").select_option(model)
    signed_in.locator("summary").click()
    return signed_in


@pytest.mark.parametrize(
    ("method", "calibrates"),
    [("Dynamic", False), ("Static Ranges", True), ("Trained", True), ("Automatic", True), ("Simulated", True)],
)
def test_each_method_asks_for_the_data_it_needs(form: Page, method: str, calibrates: bool) -> None:
    form.get_by_role("radio", name=method).check()
    expect(form.locator("#calibration-part")).to_be_visible(visible=calibrates)


def test_keys_of_the_recipe_go_before_the_choices(form: Page, api: httpx.Client) -> None:
    keys = {"layers": [{"name": "2", "method": "float"}], "measure": {"seconds": 0.5}, "engine": "fbgemm"}
    form.get_by_label(RECIPE).fill(json.dumps(keys))
    form.get_by_role("button", name="Quantize").click()
    expect(form.get_by_role("heading", name="tiny.pt2 Waiting")).to_be_visible()
    recipe = api.get("jobs").json()["data"][0]["recipe"]
    assert (recipe["method"], recipe["engine"]) == ("dynamic", "fbgemm")
    assert (recipe["layers"][0]["name"], recipe["layers"][0]["method"]) == ("2", "float")
    assert (recipe["measure"]["seconds"], recipe["measure"]["batch_sizes"]) == (0.5, [1])


def test_a_rule_that_needs_data_asks_for_it(form: Page) -> None:
    expect(form.locator("#calibration-part")).to_be_hidden()
    form.get_by_label(RECIPE).fill('{"layers": [{"type": "Linear", "method": "static"}]}')
    form.get_by_label(RECIPE).blur()
    expect(form.locator("#calibration-part")).to_be_visible()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"method": static}', "The recipe is not JSON"),
        ("[]", "The recipe is not a JSON object."),
        ('{"layers": 3, "repairs": null}', "/recipe/layers"),
        ('{"layers": [{"nam": "2", "method": "float"}]}', "/recipe/layers/0/nam"),
        ('{"layers": [{"nam": "2", "method": "float"}]}', "Did you mean 'name'?"),
        ('{"method": "static", "weights": {"bits": 4}, "engin": "x86"}', "/recipe/engin"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_below_it(form: Page, api: httpx.Client, text: str, said: str) -> None:
    form.get_by_label(RECIPE).fill(text)
    form.get_by_role("button", name="Quantize").click()
    expect(form.locator("#recipe-part").get_by_role("alert")).to_contain_text(said)
    form.get_by_label(RECIPE).press("End")
    form.get_by_label(RECIPE).press_sequentially(" ")
    expect(form.get_by_role("alert")).to_have_count(0)
    assert api.get("jobs").json()["data"] == []


def test_missing_data_is_said_where_it_would_be_given(form: Page) -> None:
    form.get_by_role("radio", name="Automatic").check()
    form.get_by_label("I have none").check()
    form.get_by_role("button", name="Quantize").click()
    alert = form.locator("#evaluation-drop ~ .problem-place").get_by_role("alert")
    expect(alert).to_contain_text("Method auto has no budget to go by")


def test_stages_that_a_search_does_not_go_through_are_shown_as_skipped(
    signed_in: Page, api: httpx.Client, model: str, data: str
) -> None:
    asked = {"model": model, "recipe": {"method": "auto"}, "calibration": data, "evaluation": data}
    job = api.post("jobs", json=asked).json()["id"]
    signed_in.evaluate(f"location.hash = '#/jobs/{job}'")
    expect(signed_in.locator(".octet .skipped")).to_have_text(["calibrate", "train", "convert"])
