// One job: how far it is, then what it gave.

import { download, finished, follow, get, post } from "./api.js";
import { byId, clearProblem, h, showProblem } from "./dom.js";
import { bytes, count, decibels, duration, milliseconds, percent, points, smaller, times } from "./format.js";
import { octet, state } from "./state.js";

export class JobView {
  constructor() {
    this.main = byId("job");
  }

  // Shows the job and follows it until it has finished or `close` is called.
  async open(id) {
    this.close();
    const { signal } = (this.following = new AbortController());
    this.head = h("header");
    this.problem = h("div", { class: "problem-place" });
    this.said = h("p", { role: "status", class: "unseen" });
    this.live = h("div", { class: "live" });
    this.result = h("div", { class: "result" });
    const back = h("p", {}, h("a", { href: "#/" }, "← All jobs"));
    this.main.replaceChildren(back, this.head, this.problem, this.said, this.live, this.result);
    try {
      await follow(id, (job) => this.show(job), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) throw error;
      showProblem(this.problem, error);
    }
  }

  close() {
    this.following?.abort();
  }

  show(job) {
    const { method, engine } = job.recipe;
    const title = job.name ?? "Job";
    document.title = `${title} · Octet`;
    const first = !this.head.hasChildNodes();
    this.head.replaceChildren(
      h("h1", { tabindex: "-1" }, title, " ", state(job)),
      h("p", { class: "quiet" }, `${method} · ${engine} · `, h("code", {}, job.id)),
    );
    if (first) this.head.querySelector("h1").focus();
    this.say([job.state, finished(job) ? null : job.stage].filter(Boolean).join(", "));
    if (!finished(job)) this.showProgress(job);
    else this.live.replaceChildren();
    if (job.state === "failed") showProblem(this.problem, job.error);
    if (job.state === "cancelled") this.live.replaceChildren(h("p", { class: "notice" }, "This job was cancelled. It made nothing."));
    if (job.state === "succeeded") this.showResult(job);
  }

  // For those who hear the page: states and stages, not every percent.
  say(words) {
    if (this.said.textContent !== words) this.said.textContent = words;
  }

  // Changes what is there instead of making it anew, so that the button keeps the focus.
  showProgress(job) {
    if (!this.live.hasChildNodes()) {
      this.card = h("div", { class: "card progress" });
      this.stop = h("button", { type: "button", class: "plain", onclick: () => this.cancel(job) }, "Cancel job");
      this.live.replaceChildren(this.card, this.stop);
    }
    const waiting = job.queue_position ? `${job.queue_position} ahead of it` : "It starts as soon as a worker is free";
    const words = job.state === "queued" ? waiting : job.message || job.stage || "Starting";
    this.stop.disabled = job.state === "cancelling";
    this.card.replaceChildren(
      octet(job),
      h("progress", { max: 1, value: job.progress, "aria-label": "Progress" }),
      h("p", {}, h("strong", {}, percent(job.progress)), ` ${words}`),
    );
  }

  async cancel(job) {
    clearProblem(this.problem);
    try {
      const now = await post(`jobs/${job.id}/cancel`);
      if (!finished(now)) this.show(now);
    } catch (error) {
      showProblem(this.problem, error);
    }
  }

  async showResult(job) {
    try {
      const [report, artifacts] = await Promise.all([get(`jobs/${job.id}/report`), get(`jobs/${job.id}/artifacts`)]);
      this.result.replaceChildren(...parts(job, report, artifacts, this.problem));
    } catch (error) {
      showProblem(this.problem, error);
    }
  }
}

const parts = (job, report, artifacts, problem) =>
  [verdict(report), tiles(report), warnings(report), files(artifacts, problem), layers(report), facts(job, report)].filter(Boolean);

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
  return h("section", { class: "warnings" }, h("h2", {}, "To know"), h("ul", {}, report.warnings.map((line) => h("li", {}, line))));
}

function files(artifacts, problem) {
  const save = async (artifact, button) => {
    clearProblem(problem);
    button.disabled = true;
    try {
      await download(artifact);
    } catch (error) {
      showProblem(problem, error);
    } finally {
      button.disabled = false;
    }
  };
  const line = (artifact) =>
    h(
      "li",
      {},
      h("code", {}, artifact.name),
      h("span", { class: "quiet" }, bytes(artifact.size)),
      h("button", { type: "button", class: "plain", "aria-label": `Download ${artifact.name}`, onclick: (event) => save(artifact, event.currentTarget) }, "Download"),
    );
  return h("section", {}, h("h2", {}, "Files"), h("ul", { class: "files card" }, artifacts.map(line)));
}

function layers(report) {
  if (report.layers.length === 0) return null;
  const cell = (value) => h("td", { class: "number" }, value === null ? "–" : value.toFixed(1));
  const line = (layer) =>
    h(
      "tr",
      {},
      h("td", {}, h("code", {}, layer.name)),
      h("td", {}, layer.type),
      h("td", {}, layer.method, layer.reason ? h("span", { class: "quiet" }, ` ${layer.reason}`) : null),
      cell(layer.weight_sqnr_db),
      cell(layer.activation_sqnr_db),
    );
  const heads = ["Layer", "Type", "Method"].map((name) => h("th", { scope: "col" }, name));
  const figures = ["Weights, dB", "Output, dB"].map((name) => h("th", { scope: "col", class: "number" }, name));
  return h(
    "section",
    {},
    h("h2", {}, "Layers ", h("span", { class: "quiet" }, "signal to quantization noise")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Layers" },
      h("table", {}, h("thead", {}, h("tr", {}, heads, figures)), h("tbody", {}, report.layers.map(line)))),
  );
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
  return h("section", {}, h("h2", {}, "How it was measured"), h("dl", { class: "facts" }, lines.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}
