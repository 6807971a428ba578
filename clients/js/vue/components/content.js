/** What a message says, and who says it. */

import { h } from "vue";

const FILE_TYPE = "application/vnd.wsserver.file+json";
const CUT = 4000; // characters of a long message that are shown at first
const CUT_LINES = 60;
const LINK = /https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}。，；：！？）】]/gi;

/** Text with its addresses as links; everything else stays text. */
export function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const { 0: address, index } of text.matchAll(LINK)) {
    if (index > end) parts.push(text.slice(end, index));
    const attributes = { href: address, target: "_blank", rel: "noopener noreferrer nofollow" };
    parts.push(h("a", attributes, address));
    end = index + address.length;
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

/** The content of a message as text. */
export function textOf({ content }) {
  if (typeof content === "string") return content;
  // Anybody may send an object with such a member: what is no text would be markup to Vue.
  if (typeof content?.filename === "string") return content.filename;
  return JSON.stringify(content, null, 2) ?? "";
}

/** Is it a file, and no message that only looks like one? */
export function isFile({ content, content_type: type }) {
  return type === FILE_TYPE && typeof content?.file_id === "string";
}

export function nameOf({ username, user_id: userId } = {}) {
  return username || userId || "";
}

/** Where a long text is cut, or its length. */
export function cutAt(text) {
  let end = Math.min(text.length, CUT);
  let at = -1;
  for (let line = 0; line < CUT_LINES; line++) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) break;
  }
  if (at >= 0) end = Math.min(end, at);
  return /[\ud800-\udbff]/.test(text[end - 1] ?? "") ? end - 1 : end; // not within a character
}

/** One colour for each user, the same on all pages. */
function hueOf(id) {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) % 360;
  return hash;
}

export const Avatar = (props) => {
  const { sender } = props;
  const style = { "--ws-hue": hueOf(sender?.user_id ?? "") };
  const initial = [...nameOf(sender)][0]?.toUpperCase() ?? "?";
  return h("span", { class: "ws-avatar", style, "aria-hidden": "true" }, initial);
};
Avatar.props = ["sender"];
