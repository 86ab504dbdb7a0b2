// Recipes: the ones to choose from, and keys that go before theirs.

import { Problem } from "./api.js";
import { byId } from "./dom.js";

// Presets, in the words of somebody who has to choose.
export const METHODS = {
  dynamic: ["Dynamic", "No data needed. Best for linear and recurrent layers."],
  static: ["Static", "Ranges from calibration data. Best for convolutions."],
  qat: ["Trained (QAT)", "Static, then trained to bear the rounding. Slowest, most accurate."],
  auto: ["Automatic", "The fastest model within half a point of fp32. Needs calibration data, and labels to judge by."],
  "simulate-4-bit": ["Simulated", "What 4-bit weights would cost, or any format that the recipe says. Makes nothing that is faster."],
};

// Whether activation ranges come from data: as `Recipe.needs_calibration` has it, for what may be no recipe yet.
export function needsCalibration({ method, activations, repairs, layers }) {
  if (method === "simulate") return activations?.bits !== null;
  const byRule = Array.isArray(layers) && layers.some((rule) => rule?.method === "static");
  return method !== "dynamic" || Boolean(repairs?.correct_bias) || byRule;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// `base` with the keys of `over` in place of its own, section by section.
export function merge(base, over) {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    merged[key] = isObject(value) && isObject(base[key]) ? merge(base[key], value) : value;
  }
  return merged;
}

// The place for keys of one's own.
export class RecipeField {
  // `changed` is told of every letter: what the form asks for must not move when it is left for the button.
  constructor(changed) {
    this.input = byId("recipe");
    this.problem = byId("recipe-part").querySelector(".problem-place");
    this.input.addEventListener("input", changed);
  }

  // The keys; none as long as they cannot be read.
  get value() {
    try {
      return this.check();
    } catch {
      return {};
    }
  }

  check() {
    const keys = parse(this.input.value.trim() || "{}");
    if (isObject(keys)) return keys;
    throw problem("The recipe is not a JSON object.", 'It has keys: {"method": "static"}, for example.');
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw problem(`The recipe is not JSON: ${error.message}.`, "Keys and words stand in double quotes, and nothing follows the last comma.");
  }
}

// As the service would say it.
const problem = (detail, hint) => new Problem(422, { detail, hint, errors: [{ pointer: "/recipe", detail, hint }] });
