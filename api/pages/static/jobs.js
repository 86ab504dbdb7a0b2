// The list of jobs, which keeps itself up to date while it is shown.

import { finished, get } from "./api.js";
import { byId, clearProblem, h, showProblem } from "./dom.js";
import { ago, percent } from "./format.js";
import { state, summary } from "./state.js";

const PAGE = 20;
const BUSY = 1500;
const IDLE = 10_000;

export class JobList {
  constructor() {
    this.limit = PAGE;
    byId("more-jobs").addEventListener("click", () => {
      this.limit = Math.min(100, this.limit + PAGE);
      this.show();
    });
  }

  async show() {
    clearTimeout(this.timer);
    const busy = await this.refresh();
    if (!byId("home").hidden) this.timer = setTimeout(() => this.show(), busy ? BUSY : IDLE);
  }

  // Whether any job is still on its way.
  async refresh() {
    try {
      const { data, has_more: more } = await get(`jobs?limit=${this.limit}`);
      clearProblem(byId("jobs-problem"));
      const focused = document.activeElement?.getAttribute("href");
      byId("jobs").replaceChildren(...data.map(row));
      if (focused) document.querySelector(`#jobs a[href="${focused}"]`)?.focus();
      byId("no-jobs").hidden = data.length > 0;
      byId("more-jobs").hidden = !more || this.limit === 100;
      return data.some((job) => !finished(job));
    } catch (error) {
      showProblem(byId("jobs-problem"), error);
      return false;
    }
  }
}

function row(job) {
  const { method, engine } = job.recipe;
  const facts = finished(job) ? summary(job) : job.state === "running" ? `${job.stage ?? "starting"}, ${percent(job.progress)}` : "";
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#/jobs/${job.id}` },
      h("span", { class: "name" }, job.name ?? job.id.slice(0, 8)),
      state(job),
      h("span", { class: "quiet" }, `${method} · ${engine} · ${ago(job.queued_at)}`),
      facts ? h("span", { class: "facts" }, facts) : null,
      job.state === "running" ? h("progress", { max: 1, value: job.progress, "aria-label": "Progress" }) : null,
    ),
  );
}
