// Who is signed in, and which of the page's views is shown.

import { get, key } from "./api.js";
import { byId, clearProblem, showProblem } from "./dom.js";
import { JobForm } from "./form.js";
import { JobView } from "./job.js";
import { JobList } from "./jobs.js";

const VIEWS = ["sign-in", "home", "job"];
const signInProblem = document.querySelector("#sign-in-form .problem-place");

const list = new JobList();
const view = new JobView();
const form = new JobForm((job) => {
  location.hash = `#/jobs/${job.id}`;
});

function show(name) {
  for (const other of VIEWS) byId(other).hidden = other !== name;
  byId("sign-out").hidden = name === "sign-in";
  document.title = "Octet";
  byId(name).querySelector(name === "sign-in" ? "input" : "h1")?.focus();
}

async function route() {
  view.close();
  if (!key.get()) {
    show("sign-in");
    return;
  }
  const job = /^#\/jobs\/([0-9a-f-]+)$/.exec(location.hash);
  if (job) {
    show("job");
    await view.open(job[1]);
  } else {
    show("home");
    list.show();
    await form.load();
  }
}

// A key that no longer holds leads back to the start, and anything else is shown where it can be seen.
async function start() {
  try {
    await route();
  } catch (error) {
    if (error.status === 401) signOut(error);
    else showProblem(byId("jobs-problem"), error);
  }
}

function signOut(reason) {
  key.forget();
  show("sign-in");
  if (reason) showProblem(signInProblem, reason);
  else clearProblem(signInProblem);
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearProblem(signInProblem);
  key.set(byId("key").value.trim());
  try {
    await get("engines");
    byId("key").value = "";
    await start();
  } catch (error) {
    signOut(error);
  }
});
byId("sign-out").addEventListener("click", () => signOut());
addEventListener("hashchange", start);
start();
