// What became of each layer, and what it costs.

import { chart } from "./chart.js";
import { h, section } from "./dom.js";
import { count, decibels, percent, range } from "./format.js";
import { scores } from "./scores.js";
import { table } from "./table.js";

const code = (name) => h("code", {}, name);
const one = (value) => value.toFixed(1);
const share = (value) => percent(value, 1);

export function layers(report) {
  if (report.layers.length === 0) return null;
  const columns = [
    { name: "Rank", of: (layer) => layer.rank, number: true },
    { name: "Layer", of: (layer) => layer.name, show: named, text: true },
    { name: "Type", of: (layer) => layer.type },
    { name: "Method", of: (layer) => layer.method, show: method },
    { name: "Weights, dB", of: (layer) => layer.weight_sqnr_db, show: one, number: true },
    { name: "Own, dB", of: (layer) => layer.own_sqnr_db, show: one, number: true },
    { name: "Output, dB", of: (layer) => layer.activation_sqnr_db, show: one, number: true },
    { name: "Clipped", of: (layer) => layer.saturation, show: (value) => percent(value, 2), number: true },
    { name: "Time, fp32", of: (layer) => layer.latency_share_fp32, show: share, number: true },
    { name: "Time, int8", of: (layer) => layer.latency_share_int8, show: share, number: true },
    { name: "Gives", of: width("output_range"), show: (_, layer) => range(layer.output_range), number: true },
    { name: "Takes", of: width("input_range"), show: (_, layer) => range(layer.input_range), number: true },
  ];
  const ranked = report.layers.some((layer) => layer.rank !== null);
  return section(
    "Layers",
    "signal to quantization noise",
    table("Layers", columns, report.layers),
    ranked ? h("p", { class: "help" }, "Own: of the layer by itself. Output: inside the int8 model, with what came before. Rank 1 has the lowest of its own.") : null,
  );
}

// Ranges are ordered by how wide they are.
const width = (key) => ({ [key]: ends }) => (ends ? ends[1] - ends[0] : null);
const named = (name, { reason }) => [code(name), reason ? h("span", { class: "reason quiet" }, reason) : null];
const method = (name, { bits }) => (bits === null || bits === 8 ? name : `${name}, ${bits} bits`);

// What is lost if one layer alone is quantized, and what is won by leaving ever more of them in float.
export function sensitivity(report) {
  const found = report.sensitivity;
  if (!found) return null;
  const { name, show, axis } = scores(report);
  const figures = [
    { name, of: (row) => row.score, show, number: true },
    { name: "SQNR", of: (row) => row.sqnr_db ?? Infinity, show: decibels, number: true },
  ];
  const ranked = found.layers.map((layer, position) => ({ ...layer, rank: position + 1 }));
  const ranking = [{ name: "Rank", of: (row) => row.rank, number: true }, { name: "Layer", of: (row) => row.name, show: code, text: true }, ...figures];
  const steps = [{ name: "Layers in float", of: (row) => row.float_layers, number: true }, ...figures];
  return section(
    "Sensitivity",
    `${count(found.samples)} samples`,
    h("p", {}, "One layer quantized, all others in float:"),
    table("Sensitivity", ranking, ranked),
    h("p", {}, "The most sensitive layers in float, all others quantized:"),
    h("div", { class: "beside" }, curve(found.curve, axis), table("Curve of layers in float", steps, found.curve)),
  );
}

function curve(points, axis) {
  const places = points.map((point) => ({ x: point.float_layers, y: axis.of(point) })).filter(({ y }) => y !== null);
  if (places.length < 2) return null;
  const rule = axis.fp32 === null ? null : { y: axis.fp32, label: "fp32" };
  const label = `${axis.name} by the number of layers left in float, of ${points.length} models.`;
  return chart({ label, x: { name: "Layers in float", whole: true }, y: { name: axis.name }, points: places, lines: [places], rule });
}

export function fusions({ fusions: made, lone_norms: lone }) {
  const fused = [
    { name: "Layer", of: (fusion) => fusion.name, show: code, text: true },
    { name: "Fused", of: (fusion) => fusion.kind, text: true },
    { name: "Parts", of: (fusion) => fusion.parts.join(", "), show: code, text: true },
  ];
  const norms = [
    { name: "Norm", of: (norm) => norm.name, show: code, text: true },
    { name: "Type", of: (norm) => norm.type },
    { name: "Why it is alone", of: (norm) => norm.reason, text: true },
  ];
  return [
    made.length ? section("Fusions", "what became one kernel", table("Fusions", fused, made)) : null,
    lone.length ? section("Lone norms", "batch norms that no layer could take in", table("Lone norms", norms, lone)) : null,
  ];
}
