/** DOM helpers; text from outside becomes text nodes, never markup. */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/**
 * Make an element: `h("button", { type: "button", onclick }, "text", otherElement)`.
 *
 * Names with a dash are attributes, `dataset` is an object, others are properties. Children may be
 * nested arrays; null, undefined and false are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.includes("-") || name === "role") setOrRemove(element, name, value);
    else element[name] = value;
  }
  return put(element, ...children);
}

/** Make an SVG element; all properties are attributes. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) setOrRemove(element, name, value);
  return put(element, ...children);
}

const ICONS = {
  copy: ["M6 6V2.5h7.5V10H10", "M2.5 6H10v7.5H2.5z"],
  table: ["M2 3h12v10H2z", "M2 6.5h12M2 9.8h12M6.5 3v10"],
};

/** A small picture for a button. */
export function icon(name) {
  const paths = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "icon-image", viewBox: "0 0 16 16", "aria-hidden": "true" }, paths);
}

/** Append children, as `h` does, and return the element. */
export function put(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Replace the children of an element, and return it. */
export function fill(element, ...children) {
  element.replaceChildren();
  return put(element, ...children);
}

/**
 * Make these the children, as `fill` does, but keep what is the same, and with it the focus and a selection: for what
 * is shown again and again. Buttons that look the same must do the same: the one that is there stays.
 */
export function update(element, ...children) {
  reconcile(element, put(element.cloneNode(false), ...children));
  return element;
}

function reconcile(present, wanted) {
  const nodes = [...wanted.childNodes];
  nodes.forEach((node, n) => {
    const known = present.childNodes[n];
    if (known === undefined) present.append(node);
    else if (known.isEqualNode(node)) return;
    else if (isSameElement(known, node)) reconcile(known, node);
    else known.replaceWith(node);
  });
  while (present.childNodes.length > nodes.length) present.lastChild.remove();
}

/** Do they differ in what is inside alone? What has listeners of its own is never the same. */
function isSameElement(known, node) {
  if (!(known instanceof Element) || known instanceof HTMLButtonElement) return false;
  return known.cloneNode(false).isEqualNode(node.cloneNode(false));
}

/** Set a text only if it has changed: screen readers announce each change of a live region. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether a scrolling list is scrolled to its end. */
export function isAtEnd(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

/** Append to a scrolling list; one scrolled to its end stays there. */
export function addLine(list, line, limit) {
  const wasAtEnd = isAtEnd(list);
  list.append(line);
  while (list.childElementCount > limit) list.firstElementChild.remove();
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
}

/** Call a function at most once a frame, however often the result is called. */
export function oncePerFrame(work) {
  let frame = 0;
  const run = () => {
    frame = 0;
    work();
  };
  const schedule = () => {
    frame ||= requestAnimationFrame(run);
  };
  schedule.cancel = () => {
    cancelAnimationFrame(frame);
    frame = 0;
  };
  return schedule;
}

function setOrRemove(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}
