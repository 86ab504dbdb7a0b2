// Small drawings of points over two axes. Places are percentages of the drawing, so that it fits any width and its words
// keep their size. A table beside each tells the same to those who do not see it.

import { h, s } from "./dom.js";

const TICKS = 4;
const CROWDED = 6; // percent of the drawing
const SIDES = [
  { dx: 10, dy: -6 },
  { dx: -10, dy: -6, "text-anchor": "end" },
  { dx: 10, dy: 16 },
  { dx: -10, dy: 16, "text-anchor": "end" },
];

// `points` are { x, y, label, kind }; `lines` are lists of such places; `rule` is { y, label }, a level to compare with.
export function chart({ label, x, y, points, lines = [], rule = null, legend = null }) {
  const across = scale(points.map((point) => point.x), x.whole);
  const up = scale([...points.map((point) => point.y), ...(rule ? [rule.y] : [])], y.whole);
  const near = (one, other) => Math.hypot(across.place(one.x) - across.place(other.x), up.place(one.y) - up.place(other.y)) < CROWDED;
  const crowd = (point, position) =>
    points.filter((other, rank) => near(other, point) && (other.x - point.x || position - rank) > 0).length;
  const at = (point) => [`${across.place(point.x)}%`, `${100 - up.place(point.y)}%`];
  const drawing = s(
    "svg",
    { class: "drawing", role: "img", "aria-label": label },
    up.ticks.map(({ place, words }) => level(`${100 - place}%`, words)),
    across.ticks.map(({ place, words }) => s("text", { class: "tick", x: `${place}%`, y: "100%", dy: 20, "text-anchor": "middle" }, words)),
    rule ? ruler(`${100 - up.place(rule.y)}%`, rule.label) : null,
    lines.flatMap((places) => places.slice(1).map((end, position) => stroke(at(places[position]), at(end)))),
    points.map((point, position) => mark(at(point), point, crowd(point, position))),
  );
  return h(
    "figure",
    { class: "chart" },
    h("p", { class: "quiet" }, y.name),
    drawing,
    h("p", { class: "quiet across" }, x.name),
    legend ? h("figcaption", { class: "quiet" }, legend) : null,
  );
}

const level = (y, words) => [
  s("line", { class: "level", x1: "0", x2: "100%", y1: y, y2: y }),
  s("text", { class: "tick", x: -10, y, dy: 4, "text-anchor": "end" }, words),
];

const ruler = (y, words) => [
  s("line", { class: "rule", x1: "0", x2: "100%", y1: y, y2: y }),
  s("text", { class: "tick", x: "100%", y, dx: 8, dy: 4 }, words),
];

const stroke = ([x1, y1], [x2, y2]) => s("line", { class: "stroke", x1, y1, x2, y2 });

// `crowd` points to the right of this one are so near that its name must stand on another side.
const mark = ([x, y], { label, kind }, crowd) => [
  s("circle", { class: `point ${kind ?? ""}`, cx: x, cy: y, r: 5 }),
  label ? s("text", { class: "name", x, y, ...SIDES[crowd % SIDES.length] }, label) : null,
];

// An axis from one round number to another, with room for all `values`.
function scale(values, whole) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const span = most - least || Math.abs(most) * 0.1 || 1;
  const step = Math.max(round(span / TICKS), whole ? 1 : 0);
  const low = Math.floor(least / step) * step;
  const high = Math.max(Math.ceil(most / step) * step, low + step);
  const place = (value) => (100 * (value - low)) / (high - low);
  const digits = (String(Number(step.toPrecision(3))).split(".")[1] ?? "").length;
  const count = Math.round((high - low) / step);
  const ticks = Array.from({ length: count + 1 }, (_, position) => low + position * step);
  return { place, ticks: ticks.map((value) => ({ place: place(value), words: value.toFixed(digits) })) };
}

// The next of 1, 2, 2.5, 5 times a power of ten.
function round(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= step * 0.999);
}
