// The service, as the page sees it: every call carries the key, every refusal becomes a Problem.

const KEY = "octet-key";

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// An RFC 9457 problem, or the lack of any answer.
export class Problem extends Error {
  constructor(status, { detail, hint, errors } = {}) {
    super(detail ?? `The service answered ${status}.`);
    this.status = status;
    this.hint = hint;
    this.fields = errors ?? [];
  }
}

const unreachable = () =>
  new Problem(0, { detail: "The service does not answer.", hint: "Check that it runs and that you are online, then try again." });

async function problemOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status);
  }
}

const authorization = () => ({ Authorization: `Bearer ${key.get()}` });

async function call(path, { headers, ...options } = {}) {
  let response;
  try {
    response = await fetch(`/v1/${path}`, { ...options, headers: { ...authorization(), ...headers } });
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

// XMLHttpRequest, because fetch does not tell how much of a body has gone out.
export function upload(kind, file, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", `/v1/${kind}?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Authorization", authorization().Authorization);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(new Problem(request.status, request.response ?? {}));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.send(file);
  });
  return { done, abort: () => request.abort() };
}

export async function download(artifact) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await call(`artifacts/${artifact.id}/content`)).blob());
  link.download = artifact.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // once the browser has surely begun to save it
}

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

// Server-sent events by fetch: EventSource cannot send a key.
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
