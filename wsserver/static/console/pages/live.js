/** Live: events and pushes as they happen, in rows; only those in view are in the document. */

import { heading, json, sessionLink, userLink } from "../parts/blocks.js";
import { openDialog } from "../parts/dialog.js";
import { fill, h, oncePerFrame, setText } from "../parts/dom.js";
import { count, number, timeOf } from "../parts/format.js";
import { pathTo } from "../parts/router.js";
import { Rows } from "./live_rows.js";
import { t } from "./live_texts.js";

const ROW_PX = 28; // as in the style sheet
const NARROW_ROW_PX = 50;
const NARROW = matchMedia("(max-width: 40rem)");
const SPARE_ROWS = 6;
const RATES_MS = 1000;
const SHOWN_RATES = 14;
const BEATS = new Set(["ping", "stats_update", "connection_established", "session_joined"]);

export function show({ root, query, signal, feed, router, has }) {
  const rows = new Rows();
  let isPaused = false;
  let type = query.get("type");
  let frozen = null; // number of the newest row of a view that was scrolled away from the top

  const words = h("input", {
    type: "search",
    value: query.get("q") ?? "",
    placeholder: t("filter"),
    "aria-label": t("filter"),
    spellcheck: false,
  });
  const pause = h(
    "button",
    { type: "button", className: "quiet", onclick: togglePause, "aria-pressed": "false" },
    t("pause"),
  );
  const clear = h(
    "button",
    { type: "button", className: "quiet", onclick: () => (rows.clear(), thaw()) },
    t("clear"),
  );
  const newest = h("button", { type: "button", className: "newest", hidden: true, onclick: thaw });
  const note = h("p", { className: "hint" });
  const problem = h("p", { className: "problem", role: "status" });
  const types = h("div", { className: "choices rates", role: "group", "aria-label": t("types") });
  const space = h("div", { className: "live-space", role: "rowgroup" });
  const columns = ["time", "event", "user", "session", "details"];
  const head = h(
    "div",
    { className: "live-row live-head", role: "row" },
    columns.map((each) => h("span", { role: "columnheader" }, t(each))),
  );
  const view = h(
    "div",
    { className: "live-view", tabIndex: 0, role: "table", "aria-label": t("rows") },
    h("div", { role: "rowgroup", className: "live-top" }, head),
    space,
  );
  const lines = new Map(); // number of a row -> element

  root.append(
    heading(t("live")),
    problem,
    h(
      "section",
      { className: "panel table-panel live" },
      h(
        "div",
        { className: "row toolbar" },
        words,
        pause,
        clear,
        h("span", { className: "grow" }),
        note,
      ),
      types,
      view,
      newest,
    ),
  );

  const draw = oncePerFrame(render);
  const rowPx = () => (NARROW.matches ? NARROW_ROW_PX : ROW_PX);
  feed.want({ events: ["*"], intervalS: 5 });
  feed.on("event", (event) => add(event), signal);
  feed.on("push", (push) => BEATS.has(push.type) || push.ref !== undefined || add(push), signal);
  feed.on("state", showProblem, signal);
  words.addEventListener("input", filter);
  view.addEventListener("scroll", onScroll);
  const resized = new ResizeObserver(draw);
  resized.observe(view);
  const timer = setInterval(showRates, RATES_MS);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    resized.disconnect();
    draw.cancel();
  });
  showProblem();
  filter();

  function add(source) {
    rows.add(source, isPaused, performance.now());
    if (!isPaused) draw();
  }

  function filter() {
    rows.filter(words.value, type);
    router.setQuery({ q: words.value, type });
    thaw();
    showRates();
  }

  function togglePause() {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = t(isPaused ? "resume" : "pause");
    showRates();
  }

  function thaw() {
    frozen = null;
    view.scrollTop = 0;
    draw();
  }

  function onScroll() {
    if (view.scrollTop < rowPx()) frozen = null;
    else frozen ??= rows.shown.at(-1)?.number ?? null;
    draw();
  }

  /** The rows of the view, oldest first: without those that came after it was scrolled. */
  function seen() {
    const { shown } = rows;
    if (frozen === null) return { list: shown, length: shown.length };
    let length = shown.length;
    while (length > 0 && shown[length - 1].number > frozen) length -= 1;
    return { list: shown, length };
  }

  function render() {
    const { list, length } = seen();
    const height = rowPx();
    const fits = Math.ceil(view.clientHeight / height) + SPARE_ROWS;
    const first = Math.max(0, Math.floor(view.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(length, first + fits + SPARE_ROWS);
    space.style.height = `${Math.max(1, length) * height}px`;
    view.setAttribute("aria-rowcount", String(length + 1));
    const wanted = new Set();
    for (let place = first; place < last; place += 1) {
      const row = list[length - 1 - place];
      wanted.add(row.number);
      let line = lines.get(row.number);
      if (!line) {
        line = lineOf(row, has);
        lines.set(row.number, line);
        space.append(line);
      }
      line.style.transform = `translateY(${place * height}px)`;
      line.setAttribute("aria-rowindex", String(place + 2));
    }
    for (const [each, line] of lines) {
      if (wanted.has(each)) continue;
      line.remove();
      lines.delete(each);
    }
    const later = list.length - length;
    newest.hidden = later === 0;
    if (later) setText(newest, t("newest", { n: count(later) }));
    space.dataset.empty = length ? "" : t(rows.size ? "nothing" : "waiting");
  }

  function showRates() {
    const rates = rows.rates(performance.now());
    const total = rates.reduce((sum, [, rate]) => sum + rate, 0);
    const shown = { shown: count(rows.shown.length), kept: count(rows.size), rate: number(total) };
    setText(note, [isPaused ? t("paused") : "", t("counted", shown)].filter(Boolean).join(" · "));
    if (types.contains(document.activeElement)) return; // the button that has the focus stays
    const listed = rates.slice(0, SHOWN_RATES);
    if (type !== null && !listed.some(([name]) => name === type)) listed.push([type, 0]);
    fill(
      types,
      typeButton(null, total),
      listed.map(([name, rate]) => typeButton(name, rate)),
    );
  }

  function typeButton(name, rate) {
    const choose = () => {
      type = name;
      document.activeElement?.blur();
      filter();
    };
    return h(
      "button",
      {
        type: "button",
        className: "quiet chip",
        onclick: choose,
        "aria-pressed": String(type === name),
      },
      name ?? t("every"),
      h("span", {}, t("per_second", { n: number(rate) })),
    );
  }

  function showProblem() {
    const isOpen = feed.state === "open";
    setText(
      problem,
      isOpen || feed.state === "connecting"
        ? ""
        : t("not_live", { reason: feed.reason || feed.state }),
    );
  }
}

function lineOf(row, has) {
  const open = h(
    "button",
    { type: "button", className: "link", onclick: () => openRow(row, has) },
    timeOf(row.at),
  );
  const cells = [
    open,
    h("code", {}, row.name),
    row.userId ? userLink(row.userId) : "",
    row.sessionId ? sessionLink(row.sessionId) : "",
    [
      row.messageId && has("trace")
        ? [h("a", { href: pathTo("trace", row.messageId) }, t("trace")), " "]
        : null,
      row.details,
    ],
  ];
  return h(
    "div",
    { className: "live-row", role: "row" },
    cells.map((cell) => h("span", { role: "cell" }, cell)),
  );
}

function openRow(row, has) {
  const trace =
    row.messageId && has("trace")
      ? h(
          "p",
          {},
          h("a", { href: pathTo("trace", row.messageId) }, `${t("trace")} ${row.messageId}`),
        )
      : null;
  const dialog = openDialog({ title: row.name, content: [trace, json(row.source)] });
  dialog.addEventListener("click", (event) => event.target.closest("a") && dialog.close());
}
