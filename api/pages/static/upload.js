// A place to choose a file or drop one: it goes up at once, with a progress bar, and says what the service found in it.

import { byId, clearProblem, h, showProblem } from "./dom.js";
import { bytes } from "./format.js";
import { upload } from "./sending.js";

export class UploadPlace {
  // `describe` turns the service's answer into a line; `changed` is told whenever `value` may have changed.
  constructor(name, kind, describe, changed) {
    this.value = null; // a promise of what the service has stored, once a file is chosen
    this.place = byId(`${name}-drop`);
    this.input = byId(`${name}-file`);
    this.status = h("div", { class: "upload", "aria-live": "polite" });
    this.problem = h("div", { class: "problem-place" });
    this.place.after(this.status, this.problem);
    Object.assign(this, { kind, describe, changed });
    this.input.addEventListener("change", () => this.input.files[0] && this.send(this.input.files[0]));
    for (const type of ["dragenter", "dragover"]) this.place.addEventListener(type, (event) => this.hover(event, true));
    for (const type of ["dragleave", "drop"]) this.place.addEventListener(type, (event) => this.hover(event, false));
    this.place.addEventListener("drop", (event) => event.dataTransfer.files[0] && this.send(event.dataTransfer.files[0]));
  }

  hover(event, over) {
    event.preventDefault();
    this.place.classList.toggle("over", over);
  }

  send(file) {
    this.clear();
    const label = `Uploading ${file.name}`;
    const bar = h("progress", { max: 1, value: 0, "aria-label": label });
    const line = h("span", {}, `${bytes(0)} of ${bytes(file.size)}`);
    this.status.replaceChildren(
      h("div", { class: "file" }, h("strong", {}, file.name), line, this.removeButton("Cancel upload")),
      bar,
    );
    const sending = upload(this.kind, file, (sent, total) => {
      bar.value = sent / total;
      line.textContent = sent < total ? `${bytes(sent)} of ${bytes(total)}` : "Checking…";
      if (sent === total) bar.removeAttribute("value");
    });
    this.abort = sending.abort;
    this.value = sending.done;
    sending.done.then(
      (stored) => this.value === sending.done && this.stored(file, stored),
      (error) => this.value === sending.done && this.failed(error),
    );
    this.changed();
  }

  stored(file, answer) {
    const facts = h("span", {}, `${bytes(answer.size)} · ${this.describe(answer)}`);
    this.status.replaceChildren(
      h("div", { class: "file done" }, h("strong", {}, file.name), facts, this.removeButton("Remove")),
    );
    this.changed();
  }

  failed(error) {
    this.clear();
    this.changed();
    if (error.name !== "AbortError") showProblem(this.problem, error);
  }

  clear() {
    this.abort?.();
    this.abort = this.value = null;
    this.input.value = "";
    this.status.replaceChildren();
    clearProblem(this.problem);
  }

  removeButton(label) {
    const remove = () => {
      this.clear();
      this.changed();
      this.input.focus();
    };
    return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick: remove }, "×");
  }
}
