/** The little that is missing from the DOM. */

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

/** Does one see the end of a list that scrolls? */
export function isAtEnd(list) {
  return list.scrollHeight - list.scrollTop - list.clientHeight < 40;
}

/** Add to a list that scrolls, staying at its end if that is what one sees. */
export function addLine(list, line, limit) {
  const wasAtEnd = isAtEnd(list);
  list.append(line);
  while (list.childElementCount > limit) list.firstElementChild.remove();
  if (wasAtEnd) list.scrollTop = list.scrollHeight;
}
