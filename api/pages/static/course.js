// How the model was come by: trials of a search, repairs, training, errors of a simulation; whichever there are.

import { chart } from "./chart.js";
import { h, section } from "./dom.js";
import { count, decibels, milliseconds, percent } from "./format.js";
import { scores } from "./scores.js";
import { table } from "./table.js";

export const course = (report) => [search(report), repairs(report), training(report), tensors(report)];

const digits = (value) => value.toPrecision(4);
const code = (name) => h("code", {}, name);

function repairs({ repairs: made }) {
  if (made.length === 0) return null;
  const columns = [
    { name: "Repair", of: (repair) => repair.repair.replaceAll("_", " ") },
    { name: "Layers", of: (repair) => repair.layers.length, number: true },
    { name: "What it did", of: (repair) => repair.summary, text: true },
  ];
  return section("Repairs", "before quantizing", table("Repairs", columns, made));
}

function training({ training: epochs }) {
  if (epochs.length === 0) return null;
  const columns = [
    { name: "Epoch", of: (epoch) => epoch.number, show: (number, epoch) => kept(number, epoch.chosen), number: true },
    { name: "Loss", of: (epoch) => epoch.loss, show: digits, number: true },
    { name: "Learning rate", of: (epoch) => epoch.learning_rate, show: (rate) => String(Number(rate.toPrecision(3))), number: true },
    { name: "Validation loss", of: (epoch) => epoch.validation_loss, show: digits, number: true },
    { name: "Validation accuracy", of: (epoch) => epoch.validation_score, show: (score) => percent(score, 2), number: true },
  ];
  return section("Training", "epoch 0 is the calibrated model", table("Training", columns, epochs));
}

function search(report) {
  const found = report.search;
  if (!found) return null;
  const { name, show } = scores(report);
  const columns = [
    { name: "Trial", of: (trial) => trial.number, show: (number, trial) => kept(number, trial.chosen), number: true },
    { name: "What", of: (trial) => trial.what, text: true },
    { name: "Float layers", of: (trial) => trial.float_layers, number: true },
    { name, of: (trial) => trial.accuracy, show, number: true },
    { name: "Drop", of: (trial) => trial.accuracy_drop, show, number: true },
    { name: "SQNR", of: (trial) => trial.sqnr_db ?? Infinity, show: decibels, number: true },
    { name: "Latency", of: (trial) => trial.latency_ms, show: milliseconds, number: true },
    { name: "As fast", of: (trial) => trial.speedup, show: (ratio) => `${ratio.toFixed(2)}×`, number: true },
    { name: "Budget", of: (trial) => (trial.within_budget ? "inside" : "missed") },
    { name: "Front", of: (trial) => (trial.pareto ? "Pareto" : "") },
  ];
  return section("Trials", null, h("p", {}, outcome(found)), scatter(report), table("Trials", columns, found.trials));
}

function outcome({ met, trials, layers, ranking_passes: passes, stopped_by: reason }) {
  const ranking = passes ? ` and ${count(passes)} passes to rank layers` : "";
  const made = `${count(trials.length)} models${ranking}, where a linear search has ${count(layers)} layers to try`;
  return `${met ? "Inside the budget" : "The budget is missed"}, after ${made}. It stopped because ${reason}.`;
}

// Each trial by what it wins and what it costs; a line along those that no other beats in both.
function scatter(report) {
  const { axis } = scores(report);
  const { gates } = report.recipe;
  const trials = report.search.trials.filter((trial) => axis.of({ score: trial.accuracy, ...trial }) !== null);
  const place = (trial) => ({ x: trial.speedup, y: axis.of({ score: trial.accuracy, ...trial }) });
  const kind = (trial) => `${trial.within_budget ? "inside" : "outside"} ${trial.chosen ? "chosen" : ""}`;
  const points = trials.map((trial) => ({ ...place(trial), label: String(trial.number), kind: kind(trial) }));
  if (points.length === 0) return null;
  const front = trials.filter((trial) => trial.pareto).map(place).sort((a, b) => a.x - b.x);
  const limit = axis.limit(gates);
  return chart({
    label: `Trials by speed and ${axis.name.toLowerCase()}; the table tells the same.`,
    x: { name: "Times as fast as fp32" },
    y: { name: axis.name },
    points,
    lines: [staircase(front)],
    rule: limit === null ? null : { y: limit, label: "budget" },
    legend: [key("inside", "inside the budget"), key("outside", "outside"), key("chosen", "kept"), key("front", "Pareto front")],
  });
}

// What models on the front reach: between two of them, no more than the faster one.
const staircase = (front) => front.flatMap((place, position) => (position ? [{ x: front[position - 1].x, y: place.y }, place] : [place]));

const key = (kind, words) => h("span", { class: `key ${kind}` }, words);

const kept = (number, chosen) => [chosen ? h("span", { class: "kept" }, "kept") : null, String(number)];

function tensors({ simulated }) {
  if (simulated.length === 0) return null;
  const columns = [
    { name: "Layer", of: (tensor) => tensor.layer, show: code, text: true },
    { name: "Tensor", of: (tensor) => tensor.kind },
    { name: "Bits", of: (tensor) => tensor.bits, number: true },
    { name: "Relative error", of: (tensor) => tensor.relative_error, show: (error) => percent(error, 2), number: true },
  ];
  const worstFirst = simulated.toSorted((one, other) => other.relative_error - one.relative_error);
  return section("Simulated tensors", "‖X − Xq‖ / ‖X‖, the worst first", table("Simulated tensors", columns, worstFirst));
}
