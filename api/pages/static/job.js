// One job: how far it is, then its result.

import { finished, follow, get, post } from "./api.js";
import { byId, clearProblem, h, showProblem } from "./dom.js";
import { percent } from "./format.js";
import { parts } from "./result.js";
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
      this.result.replaceChildren(...parts(job, report, artifacts));
    } catch (error) {
      showProblem(this.problem, error);
    }
  }
}
