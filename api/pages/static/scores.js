// How the scores of a report are called, shown and drawn: accuracy, squared error, or SQNR where there are no targets.

import { percent } from "./format.js";

// `axis.of` takes { score, sqnr_db } and gives null for what has no place; `axis.limit` what the gates ask for.
export function scores({ accuracy, recipe }) {
  const metric = accuracy?.metric;
  const byAccuracy = metric === "accuracy" && (recipe.method !== "auto" || recipe.gates.max_accuracy_drop !== null);
  return {
    name: metric === "mse" ? "Squared error" : "Accuracy",
    show: metric === "mse" ? (value) => value.toPrecision(3) : (value) => percent(value, 2),
    axis: byAccuracy
      ? {
          name: "Accuracy, %",
          of: ({ score }) => score && 100 * score,
          fp32: 100 * accuracy.fp32,
          limit: ({ max_accuracy_drop: drop }) => (drop === null ? null : 100 * (accuracy.fp32 - drop)),
        }
      : { name: "SQNR, dB", of: ({ sqnr_db: sqnr }) => sqnr, fp32: null, limit: ({ min_sqnr_db: sqnr }) => sqnr },
  };
}
