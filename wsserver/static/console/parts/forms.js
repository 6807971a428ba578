/** Form fields: labelled inputs, groups of choices, JSON, faults of the server beside them. */

import { fill, h } from "./dom.js";

let counter = 0;

/** A labelled field: an element with `value`, such as an input. */
export function labelled(label, field, hint = "") {
  counter += 1;
  field.id ||= `field-${counter}`;
  return h(
    "div",
    { className: "field" },
    h("label", { htmlFor: field.id }, label),
    field,
    hint && h("p", { className: "hint" }, hint),
  );
}

export const input = (name, properties = {}) =>
  h("input", { name, spellcheck: false, ...properties });
export const area = (name, properties = {}) =>
  h("textarea", { name, rows: 5, spellcheck: false, ...properties });

export function select(name, options, chosen = "") {
  const make = ([value, label]) => h("option", { value, selected: value === chosen }, label);
  return h("select", { name }, options.map(make));
}

/**
 * Radio buttons in a row; `onChange(value)` is called for each choice, and once at first.
 *
 * @returns {{element: HTMLElement, value: string}}
 */
export function choices(label, name, options, chosen, onChange) {
  counter += 1;
  const id = `choices-${counter}`;
  const buttons = options.map(([value, text]) =>
    h(
      "label",
      { className: "choice" },
      h("input", {
        type: "radio",
        name,
        value,
        checked: value === chosen,
        onchange: () => onChange(value),
      }),
      text,
    ),
  );
  const element = h(
    "div",
    { className: "field" },
    h("span", { id, className: "label" }, label),
    h("div", { className: "choices", role: "radiogroup", "aria-labelledby": id }, buttons),
  );
  return {
    element,
    get value() {
      return element.querySelector("input:checked").value;
    },
  };
}

/** Words of a text, separated by blanks, lines or commas. */
export function wordsOf(text) {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}

/** Show what a request was refused for: one line for each fault of a field. */
export function showFaults(place, error) {
  const lines = error.errors?.length
    ? error.errors.map(({ field, message }) => `${field}: ${message}`)
    : [error.message];
  fill(place, lines.join("\n"));
}
