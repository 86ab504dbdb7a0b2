// A file on its way to the service: in one piece if it is small, else by tus 1.0, taken up where the line broke.

import { Problem, call, get, unreachable } from "./api.js";

const RESUMABLE_FROM = 4 * 2 ** 20;
const TUS = { "Tus-Resumable": "1.0.0" };
const PASSING = new Set([0, 408, 409, 423, 429, 500, 502, 503, 504]); // 0: there was no answer
const TRIES = 8; // in a row without a byte arriving

// `kind` is `models` or `datasets`; `done` becomes what the service says of the file.
export function upload(kind, file, onProgress) {
  const controller = new AbortController();
  const way = file.size < RESUMABLE_FROM ? inOnePiece : inParts;
  return { done: way(kind, file, onProgress, controller.signal), abort: () => controller.abort() };
}

function inOnePiece(kind, file, onProgress, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  const told = (sent) => onProgress(sent, file.size);
  return send("POST", `${kind}?name=${encodeURIComponent(file.name)}`, headers, file, told, signal);
}

async function inParts(kind, file, onProgress, signal) {
  const path = await begin(kind, file, signal);
  for (let tries = 0, arrived = 0; ; ) {
    try {
      const upload = await get(path, { signal });
      if (upload.result) return await get(`${kind}/${upload.result}`, { signal });
      if (upload.received > arrived) tries = 0;
      arrived = upload.received;
      const headers = { ...TUS, "Upload-Offset": arrived, "Content-Type": "application/offset+octet-stream" };
      const told = (sent) => onProgress(arrived + sent, file.size);
      await send("PATCH", path, headers, file.slice(arrived), told, signal);
    } catch (error) {
      if (signal.aborted) call(path, { method: "DELETE", headers: TUS }).catch(() => {});
      if (signal.aborted || !PASSING.has(error.status) || ++tries > TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 250 * 2 ** tries)));
    }
  }
}

async function begin(kind, file, signal) {
  const metadata = `kind ${base64(kind.slice(0, -1))},filename ${base64(file.name)}`;
  const headers = { ...TUS, "Upload-Length": file.size, "Upload-Metadata": metadata };
  return `uploads/${(await (await call("uploads", { method: "POST", headers, signal })).json()).id}`;
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// XMLHttpRequest, because fetch does not tell how much of a body has gone out.
function send(method, path, headers, body, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, `/v1/${path}`);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(new Problem(request.status, request.response ?? {}));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
