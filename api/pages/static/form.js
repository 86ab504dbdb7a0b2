// The form of a new job.

import { get, post } from "./api.js";
import { byId, clearProblem, h, showProblem } from "./dom.js";
import { count, shape } from "./format.js";
import { METHODS, RecipeField, merge, needsCalibration } from "./recipe.js";
import { UploadPlace } from "./upload.js";

const describeModel = (model) =>
  `${model.inputs.map((input) => `${input.dtype} ${shape(input.shape)}`).join(", ")} · ${count(model.parameters)} parameters`;
const describeData = (data) => `${count(data.samples)} samples · ${Object.keys(data.arrays).join(", ")}`;

export class JobForm {
  constructor(onSubmitted) {
    this.form = byId("new-job");
    this.onSubmitted = onSubmitted;
    this.problem = this.form.querySelector(":scope > .problem-place");
    const changed = () => {
      this.clearProblems();
      this.repeatKey = null;
      this.update();
    };
    this.model = new UploadPlace("model", "models", describeModel, () => {
      if (this.model.value) byId("model-known").value = "";
      changed();
    });
    this.calibration = new UploadPlace("calibration", "datasets", describeData, changed);
    this.evaluation = new UploadPlace("evaluation", "datasets", describeData, changed);
    this.keys = new RecipeField(changed);
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
    this.form.hidden = false; // not before there is something to choose from
  }

  offer(recipes, engines) {
    byId("methods").replaceChildren(...recipes.map(choice));
    byId("engine").replaceChildren(...engines.map(({ name, summary }) => h("option", { value: name }, `${name}: ${summary}`)));
    byId("engine").value = recipes[0].recipe.engine;
  }

  get method() {
    return new FormData(this.form).get("method");
  }

  // What the choices and the keys beside them come to.
  get recipe() {
    const { recipe } = this.recipes.find(({ name }) => name === this.method);
    return merge({ ...recipe, engine: byId("engine").value }, this.keys.value);
  }

  update() {
    this.calibrates = needsCalibration(this.recipe);
    const synthetic = this.calibrates && byId("synthetic").checked;
    byId("calibration-part").hidden = !this.calibrates;
    byId("calibration-drop").hidden = synthetic;
    byId("both-part").hidden = !this.calibrates || synthetic;
    byId("evaluation-drop").hidden = this.both;
  }

  // One file for calibration and evaluation.
  get both() {
    return this.calibrates && !byId("synthetic").checked && byId("both").checked;
  }

  async submit() {
    const button = this.form.querySelector("button[type=submit]");
    this.clearProblems();
    button.disabled = true;
    this.repeatKey ??= randomKey();
    try {
      this.onSubmitted(await post("jobs", await this.asked(), { "Idempotency-Key": this.repeatKey }));
      this.repeatKey = null;
    } catch (error) {
      this.show(error);
    } finally {
      button.disabled = false;
    }
  }

  // What was refused is said where it was given, and else at the end.
  show(error) {
    const [, part] = /^\/(\w+)/.exec(error.fields?.[0]?.pointer ?? "") ?? [];
    const place = this.places[part] ?? this.problem;
    showProblem(place, error);
    place.closest("details")?.setAttribute("open", "");
    place.scrollIntoView({ block: "nearest" });
  }

  get places() {
    const { model, calibration, evaluation, keys } = this;
    return { model: model.problem, calibration: calibration.problem, evaluation: evaluation.problem, recipe: keys.problem };
  }

  clearProblems() {
    for (const place of [this.problem, ...Object.values(this.places)]) clearProblem(place);
  }

  // The body of POST /jobs, once every upload has ended.
  async asked() {
    const model = byId("model-known").value || (await this.model.value)?.id;
    if (!model) throw new Error("Choose a model first.");
    this.keys.check();
    const synthetic = this.calibrates && byId("synthetic").checked;
    const recipe = synthetic ? merge(this.recipe, { calibration: { source: "synthetic" } }) : this.recipe;
    const calibration = !this.calibrates || synthetic ? null : ((await this.calibration.value)?.id ?? null);
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
