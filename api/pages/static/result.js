// What a job gave, part by part: figures first, then how they came about.

import { contentOf } from "./api.js";
import { course } from "./course.js";
import { h, section } from "./dom.js";
import { bytes, count, decibels, duration, milliseconds, percent, points, smaller, times } from "./format.js";
import { fusions, layers, sensitivity } from "./layers.js";

export const parts = (job, report, artifacts) =>
  [
    verdict(report),
    tiles(report),
    warnings(report),
    files(artifacts),
    ...course(report),
    layers(report),
    sensitivity(report),
    ...fusions(report),
    facts(job, report),
  ].filter(Boolean);

function verdict({ gates }) {
  const judged = gates.filter((gate) => gate.passed !== null);
  const failed = judged.filter((gate) => !gate.passed);
  const words = {
    max_accuracy_drop: ({ limit, measured }) => `Accuracy ${measured < 0 ? "rises" : "drops"} by ${points(Math.abs(measured))}; a drop of at most ${points(limit)} is allowed.`,
    min_sqnr_db: ({ limit, measured }) => `The SQNR is ${decibels(measured)}; at least ${decibels(limit)} is asked for.`,
    min_speedup: ({ limit, measured }) => `It is ${times(measured)} as fast; at least ${times(limit)} is asked for.`,
  };
  const said = judged.map((gate) => h("p", {}, `${gate.passed ? "✓" : "✗"} ${words[gate.gate](gate)}`));
  if (said.length === 0) return null;
  return h("div", { class: `verdict ${failed.length ? "fails" : "passes"}` }, said);
}

function tiles({ accuracy, size, latency, fidelity }) {
  const shown = [tile("Size", bytes(size.fp32), bytes(size.int8), smaller(size.ratio))];
  for (const { batch_size: batch, fp32, int8, ratio, verdict: word, representative } of latency) {
    const rate = word === "same" ? "as fast as before" : `${times(ratio)} as fast`;
    const note = representative ? rate : `${rate}, on a CPU this engine is not made for`;
    shown.push(tile(`Latency, batch ${batch}`, milliseconds(fp32.median), milliseconds(int8.median), note));
  }
  if (accuracy) {
    const [show, name] = accuracy.metric === "accuracy" ? [(x) => percent(x, 2), "Accuracy"] : [(x) => x.toPrecision(3), "Squared error"];
    shown.push(tile(name, show(accuracy.fp32), show(accuracy.int8), `${count(accuracy.samples)} samples`));
  }
  const agreement = fidelity.agreement === null ? "" : `same answer for ${percent(fidelity.agreement, 1)}`;
  shown.push(tile("Fidelity", null, decibels(fidelity.sqnr_db), agreement || `largest error ${fidelity.max_abs_error.toPrecision(2)}`));
  return h("dl", { class: "tiles" }, shown);
}

function tile(name, before, after, note) {
  const from = before === null ? null : h("span", { class: "before" }, before, h("span", { class: "arrow", "aria-label": "to" }, " → "));
  return h("div", {}, h("dt", {}, name), h("dd", {}, from, h("strong", {}, after)), h("dd", { class: "note" }, note));
}

function warnings(report) {
  if (report.warnings.length === 0) return null;
  return section("To know", null, h("ul", { class: "warnings" }, report.warnings.map((line) => h("li", {}, line))));
}

function files(artifacts) {
  const line = (artifact) =>
    h(
      "li",
      {},
      h("code", {}, artifact.name),
      h("span", { class: "quiet" }, bytes(artifact.size)),
      h("a", { class: "plain button", href: contentOf(artifact), download: "", "aria-label": `Download ${artifact.name}` }, "Download"),
    );
  return section("Files", null, h("ul", { class: "files card" }, artifacts.map(line)));
}

function facts(job, report) {
  const { engine, machine } = report;
  const lines = [
    ["Measured on", `${machine.cpu}, ${machine.cores} cores, torch ${machine.torch_version}`],
    ["Deploy CPU needs", engine.cpu_flags.map((flag) => flag.replaceAll("|", " or ")).join(", ") || "nothing special"],
    ["Activations", engine.reduce_range ? "7 bits" : "8 bits"],
    ["Compared with", report.latency[0] ? `fp32, ${report.latency[0].baseline}` : null],
    ["Took", duration(job.running_at, job.succeeded_at)],
  ];
  const line = ([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return section("How it was measured", null, h("dl", { class: "facts" }, lines.filter(([, value]) => value).map(line)));
}
