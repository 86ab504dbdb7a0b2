// Elements out of words: h("p", { class: "help" }, "text", child).
// Text always goes in as text, so nothing that a model or a dataset is called can become markup.

const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, ...rest) => furnish(document.createElement(tag), ...rest);

// The same for drawings.
export const s = (tag, ...rest) => furnish(document.createElementNS(SVG, tag), ...rest);

function furnish(element, properties = {}, ...children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A part of a page: its heading, what is to be known before it is read, and what it holds.
export const section = (title, note, ...children) =>
  h("section", {}, h("h2", {}, title, note ? [" ", h("span", { class: "quiet" }, note)] : null), children);

export const byId = (id) => document.getElementById(id);

// What went wrong, with what to do about it: an Error of api.js, or any other.
export function showProblem(place, error) {
  place.replaceChildren(
    h(
      "div",
      { class: "problem", role: "alert" },
      h("p", {}, h("strong", {}, marked(error.message))),
      error.hint ? h("p", {}, marked(error.hint)) : null,
      error.fields?.length > 1 ? h("ul", {}, error.fields.map(field)) : null,
    ),
  );
}

export const clearProblem = (place) => place.replaceChildren();

function field({ pointer, parameter, detail, hint }) {
  return h("li", {}, h("code", {}, pointer || parameter || "/"), " ", marked(`${detail}. ${hint ?? ""}`));
}

// Text whose `quoted` parts are code.
const marked = (text) => text.split("`").map((part, position) => (position % 2 ? h("code", {}, part) : part));
