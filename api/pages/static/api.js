// The service, as the page sees it: every call carries the cookie of whoever is signed in, which no script can read;
// every refusal becomes a Problem.

// An RFC 9457 problem, or the lack of any answer.
export class Problem extends Error {
  constructor(status, { detail, hint, errors } = {}) {
    super(detail ?? `The service answered ${status}.`);
    this.status = status;
    this.hint = hint;
    this.fields = errors ?? [];
  }
}

export const unreachable = () =>
  new Problem(0, { detail: "The service does not answer.", hint: "Check that it runs and that you are online, then try again." });

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status);
  }
}

export async function call(path, options) {
  let response;
  try {
    response = await fetch(`/v1/${path}`, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!response.ok && response.status !== 304) throw await problemOf(response);
  return response;
}

export const get = async (path, options) => (await call(path, options)).json();

export async function post(path, body, headers) {
  const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...headers } };
  return (await call(path, { method: "POST", ...json })).json();
}

export const signIn = (key) => post("session", { key });
export const signOut = () => call("session", { method: "DELETE" });

// Where the bytes of an artifact are. The service sends them as an attachment, so a plain link saves them.
export const contentOf = (artifact) => `/v1/artifacts/${artifact.id}/content`;

const FINISHED = new Set(["succeeded", "failed", "cancelled"]);
export const finished = (job) => FINISHED.has(job.state);

const TRIES = 3;

// Calls onChange(job) whenever the job has changed, until it has finished or `signal` aborts.
export async function follow(id, onChange, signal) {
  let job = await get(`jobs/${id}`, { signal });
  onChange(job);
  for (let tries = 0, after = 0; !finished(job); ) {
    try {
      if (tries >= TRIES) return await poll(id, onChange, signal);
      for await (const event of events(id, after, signal)) {
        tries = 0;
        after = event.id;
        const { state, stage, progress, message } = event;
        const place = state === "queued" ? job.queue_position : null;
        job = { ...job, state, stage, progress, message, queue_position: place };
        if (!finished(job)) onChange(job);
      }
      job = await get(`jobs/${id}`, { signal });
      onChange(job);
    } catch (error) {
      if (signal.aborted || error.status === 401 || error.status === 404) throw error;
      tries += 1;
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 500 * tries)));
    }
  }
}

// Server-sent events by fetch: EventSource does not tell why it was refused.
async function* events(id, after, signal) {
  const headers = { Accept: "text/event-stream", "Last-Event-ID": String(after) };
  const response = await call(`jobs/${id}/events`, { headers, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const data = message.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice("data: ".length));
    }
  }
}

// For where something between here and the service holds streams back.
async function poll(id, onChange, signal) {
  for (let tag = ""; ; ) {
    const response = await call(`jobs/${id}`, { headers: { Prefer: "wait=20", "If-None-Match": tag }, signal, cache: "no-store" });
    if (response.status === 304) continue;
    tag = response.headers.get("ETag");
    const job = await response.json();
    onChange(job);
    if (finished(job)) return;
  }
}
