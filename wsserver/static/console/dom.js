/** DOM helpers. */

export const byId = (id) => document.getElementById(id);

/** Make an element: `h("button", {type: "button", onclick}, "text", otherElement)`. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
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
