// How the state of a job looks, wherever it is shown.

import { h } from "./dom.js";
import { decibels, percent, smaller, times } from "./format.js";
import { needsCalibration } from "./recipe.js";

const WORDS = {
  queued: "Waiting",
  running: "Running",
  cancelling: "Stopping",
  succeeded: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const state = (job) => {
  const gate = job.state === "succeeded" && job.verdict === "fails";
  return h("span", { class: `state ${gate ? "gate" : job.state}` }, gate ? "Gate missed" : WORDS[job.state]);
};

export const figure = (job, name) => job.metrics.find((metric) => metric.name === name)?.value;

// One line of what a job gave.
export function summary(job) {
  if (job.state === "failed") return job.error?.message ?? "";
  if (job.state !== "succeeded") return "";
  const parts = [smaller(figure(job, "size.ratio"))];
  const ratio = figure(job, "latency.ratio");
  if (ratio !== undefined) parts.push(`${times(ratio)} as fast`);
  const drop = figure(job, "accuracy.drop");
  if (drop !== undefined) parts.push(`${percent(figure(job, "accuracy.int8"), 1)} accurate (fp32 ${percent(figure(job, "accuracy.fp32"), 1)})`);
  else if (figure(job, "fidelity.sqnr") !== undefined) parts.push(`SQNR ${decibels(figure(job, "fidelity.sqnr"))}`);
  return parts.join(" · ");
}

// A job has eight stages: an octet. Each is a bit that is set when it is done.
const STAGES = ["load", "prepare", "calibrate", "train", "convert", "measure", "save", "verify"];

export function octet(job) {
  const now = STAGES.indexOf(job.stage);
  const done = job.state === "succeeded";
  const searches = job.recipe.method === "auto"; // and makes all of its models while it prepares
  const skipped = { calibrate: searches || !needsCalibration(job.recipe), train: job.recipe.method !== "qat", convert: searches };
  return h(
    "ol",
    { class: `octet ${job.state}`, "aria-label": "Stages" },
    STAGES.map((stage, position) => {
      const kind = skipped[stage] ? "skipped" : done || position < now ? "set" : position === now ? "now" : "";
      return h("li", { class: kind, "aria-current": kind === "now" ? "step" : null }, stage);
    }),
  );
}
