// Who is signed in, and which of the page's views is shown.

import { get, signIn, signOut } from "./api.js";
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

// Who is not signed in, or no longer, begins at the start; anything else is shown where it can be seen.
async function start() {
  try {
    await route();
  } catch (error) {
    if (error.status === 401) ask();
    else showProblem(byId("jobs-problem"), error);
  }
}

function ask(reason) {
  show("sign-in");
  if (reason) showProblem(signInProblem, reason);
  else clearProblem(signInProblem);
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  clearProblem(signInProblem);
  try {
    await signIn(byId("key").value.trim());
    byId("key").value = "";
    await start();
  } catch (error) {
    ask(error);
  }
});
byId("sign-out").addEventListener("click", () => {
  view.close();
  signOut().then(() => ask(), ask);
});
addEventListener("hashchange", start);
get("session").then(start, (error) => ask(error.status === 401 ? undefined : error));
