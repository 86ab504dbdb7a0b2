// The form of a new job.

import { get, post } from "./api.js";
import { byId, clearProblem, h, showProblem } from "./dom.js";
import { count, shape } from "./format.js";
import { UploadPlace } from "./upload.js";

// In the words of somebody who has to choose.
const METHODS = {
  dynamic: ["Dynamic", "No data needed. Best for linear and recurrent layers."],
  static: ["Static", "Ranges from calibration data. Best for convolutions."],
  qat: ["Trained (QAT)", "Static, then trained to bear the rounding. Slowest, most accurate."],
};

const describeModel = (model) =>
  `${model.inputs.map((input) => `${input.dtype} ${shape(input.shape)}`).join(", ")} · ${count(model.parameters)} parameters`;
const describeData = (data) => `${count(data.samples)} samples · ${Object.keys(data.arrays).join(", ")}`;

export class JobForm {
  constructor(onSubmitted) {
    this.form = byId("new-job");
    this.onSubmitted = onSubmitted;
    this.problem = this.form.querySelector(":scope > .problem-place");
    const changed = () => {
      clearProblem(this.problem);
      this.repeatKey = null;
      this.update();
    };
    this.model = new UploadPlace("model", "models", describeModel, () => {
      if (this.model.value) byId("model-known").value = "";
      changed();
    });
    this.calibration = new UploadPlace("calibration", "datasets", describeData, changed);
    this.evaluation = new UploadPlace("evaluation", "datasets", describeData, changed);
    this.form.addEventListener("change", changed);
    byId("model-known").addEventListener("change", () => this.model.clear());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
  }

  async load() {
    const [recipes, engines, models] = await Promise.all([get("recipes"), get("engines"), get("models?limit=20")]);
    this.recipes = recipes;
    if (!this.method) this.offer(recipes.filter((recipe) => recipe.name in METHODS), engines);
    byId("model-known").replaceChildren(
      h("option", { value: "" }, "Choose…"),
      ...models.data.map((model) => h("option", { value: model.id }, model.name)),
    );
    byId("known-models").hidden = models.data.length === 0;
    this.update();
  }

  offer(recipes, engines) {
    byId("methods").replaceChildren(...recipes.map(choice));
    byId("engine").replaceChildren(...engines.map(({ name, summary }) => h("option", { value: name }, `${name}: ${summary}`)));
    byId("engine").value = recipes[0].recipe.engine;
  }

  get method() {
    return new FormData(this.form).get("method");
  }

  update() {
    const calibrates = this.method !== "dynamic";
    const synthetic = calibrates && byId("synthetic").checked;
    byId("calibration-part").hidden = !calibrates;
    byId("calibration-drop").hidden = synthetic;
    byId("both-part").hidden = !calibrates || synthetic;
    byId("evaluation-drop").hidden = this.both;
  }

  // One file for calibration and evaluation.
  get both() {
    return this.method !== "dynamic" && !byId("synthetic").checked && byId("both").checked;
  }

  async submit() {
    const button = this.form.querySelector("button[type=submit]");
    clearProblem(this.problem);
    button.disabled = true;
    this.repeatKey ??= randomKey();
    try {
      this.onSubmitted(await post("jobs", await this.asked(), { "Idempotency-Key": this.repeatKey }));
      this.repeatKey = null;
    } catch (error) {
      showProblem(this.problem, error);
    } finally {
      button.disabled = false;
    }
  }

  // The body of POST /jobs, once every upload has ended.
  async asked() {
    const model = byId("model-known").value || (await this.model.value)?.id;
    if (!model) throw new Error("Choose a model first.");
    const chosen = this.recipes.find((recipe) => recipe.name === this.method).recipe;
    const recipe = { ...chosen, engine: byId("engine").value };
    const synthetic = this.method !== "dynamic" && byId("synthetic").checked;
    if (synthetic) recipe.calibration = { ...recipe.calibration, source: "synthetic" };
    const calibration = this.method === "dynamic" || synthetic ? null : ((await this.calibration.value)?.id ?? null);
    const evaluation = this.both ? calibration : ((await this.evaluation.value)?.id ?? null);
    return { model, recipe, calibration, evaluation, name: await this.modelName(model) };
  }

  async modelName(model) {
    return (await get(`models/${model}`)).name;
  }
}

// So that a second click after a lost answer does not make a second job. (crypto.randomUUID needs https.)
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function choice({ name, summary }, position) {
  const [title, words] = METHODS[name];
  return h(
    "label",
    { class: "choice", title: summary },
    h("input", { type: "radio", name: "method", value: name, checked: position === 0 }),
    h("span", {}, h("strong", {}, title), h("span", {}, words)),
  );
}
