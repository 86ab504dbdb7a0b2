// Numbers as people read them.

const BYTES = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < BYTES.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 100 ? count.toFixed(1) : Math.round(count)} ${BYTES[unit]}`;
}

export const count = (number) => number.toLocaleString("en");
export const percent = (fraction, digits = 0) => `${(100 * fraction).toFixed(digits)} %`;
export const points = (fraction) => `${(100 * fraction).toFixed(1)} points`;
export const milliseconds = (value) =>
  value < 0.1 ? `${(1000 * value).toFixed(1)} µs` : `${value.toFixed(value < 10 ? 2 : 1)} ms`;
export const times = (ratio) => `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)}×`;
export const smaller = (ratio) => (ratio >= 1 ? `${times(ratio)} smaller` : `${times(1 / ratio)} larger`);
export const decibels = (value) => (value === null || value === Infinity ? "exact" : `${value.toFixed(1)} dB`);
export const range = (ends) => ends.map((end) => String(Number(end.toPrecision(3))).replace("-", "−")).join(" … ");
export const shape = (sizes) => `[${sizes.join(", ")}]`;

const AGO = [
  [60, "second"],
  [60, "minute"],
  [24, "hour"],
  [Infinity, "day"],
];

export function ago(time) {
  let span = Math.max(0, (Date.now() - new Date(time)) / 1000);
  for (const [size, unit] of AGO) {
    if (span < size) {
      const whole = Math.floor(span);
      if (unit === "second") return "just now";
      return `${whole} ${unit}${whole === 1 ? "" : "s"} ago`;
    }
    span /= size;
  }
  return "";
}

export function duration(from, to) {
  const seconds = Math.max(0, (new Date(to ?? Date.now()) - new Date(from)) / 1000);
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
