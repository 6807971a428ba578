/** Overview: figures and plots over time, what needs attention, health, nodes, busiest users. */

import { get } from "../parts/api.js";
import { fill, h, oncePerFrame, setText, svg } from "../parts/dom.js";
import { dateTime, minuteOf } from "../parts/format.js";
import { Crosshair, Plot } from "../parts/plot.js";
import { linePath, runsOf } from "../parts/plot_math.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { LivePoints, columns, joined, pointsOf } from "../parts/stats_points.js";
import { PANELS, TILES } from "./overview_panels.js";
import { Side } from "./overview_side.js";
import { t } from "./overview_texts.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Name → length, and distance of the stored snapshots that are shown (null: all). */
const RANGES = {
  "5m": { ms: 5 * MINUTE, step: null },
  "15m": { ms: 15 * MINUTE, step: null },
  "1h": { ms: HOUR, step: "1m" },
  "6h": { ms: 6 * HOUR, step: "1m" },
  "24h": { ms: DAY, step: "5m" },
  "7d": { ms: 7 * DAY, step: "30m" },
  "30d": { ms: 30 * DAY, step: "2h" },
};
const LIVE_RANGES = ["5m", "15m"];
const DEFAULT_RANGE = "1h";
const SHOWN_POINTS = 400;
const STATS_S = 2;
const HISTORY_S = 30;
const SPARK = { width: 96, height: 22, ms: 15 * MINUTE };

const live = new LivePoints(); // goes on while other pages are shown, as far as they have statistics

export async function show(context) {
  const { root, query, signal, feed, router, account, shell } = context;
  const ranges = Object.keys(RANGES).filter(
    (each) => !account.isConfined || LIVE_RANGES.includes(each),
  );
  const wanted = query.get("range");
  let range = ranges.includes(wanted) ? wanted : account.isConfined ? "15m" : DEFAULT_RANGE;
  let zoom = zoomIn(query);
  let stored = [];

  const buttons = ranges.map((each) =>
    h("button", { type: "button", onclick: () => choose(each) }, t(`range_${each}`)),
  );
  const zoomOut = h("button", { type: "button", className: "quiet", onclick: () => choose(range) });
  const crosshair = new Crosshair();
  const plots = PANELS.map((panel) => new Plot({ ...panel, crosshair, onZoom, signal }));
  const tiles = TILES.map(makeTile);
  const side = new Side(context);
  root.append(
    h(
      "div",
      { className: "heading" },
      h("h1", {}, t("overview_title")),
      side.status,
      h("div", { className: "segments", role: "group", "aria-label": t("range") }, buttons),
      zoomOut,
    ),
    account.isConfined ? h("p", { className: "hint" }, t("own_only")) : "",
    side.attention,
    h(
      "div",
      { className: "tiles" },
      tiles.map(({ element }) => element),
    ),
    h(
      "div",
      { className: "plots" },
      plots.map(({ element }) => element),
      side.panels,
    ),
  );

  const draw = oncePerFrame(() => {
    const now = Date.now();
    const { from, to } = zoom ?? { from: now - RANGES[range].ms, to: now };
    const points = joined(stored, live.points, (to - from) / SHOWN_POINTS);
    plots.forEach((plot, n) => {
      const { needs, series } = PANELS[n];
      plot.element.hidden = needs !== undefined && !points.some((point) => point[needs] > 0);
      plot.show(columns(points, series, from, to));
    });
    side.place(plots.filter(({ element }) => !element.hidden).length);
    const latest = joined(stored, live.points, SPARK.ms / SPARK.width);
    for (const tile of tiles) tile.show(latest, now);
  });

  async function loadHistory() {
    if (account.isConfined) return; // snapshots are those of all organizations
    const { ms, step } = zoom ? stepFor(zoom) : RANGES[range];
    const since = new Date(zoom ? zoom.from : Date.now() - ms - 2 * MINUTE).toISOString();
    const until = zoom ? new Date(zoom.to).toISOString() : null;
    const snapshots = [];
    let cursor = null;
    do {
      const page = await get("/stats/history", { since, until, step, cursor, limit: 1000 }, signal);
      snapshots.push(...page.snapshots);
      cursor = page.next_cursor;
    } while (cursor);
    stored = pointsOf(snapshots);
    draw();
  }

  function choose(name) {
    range = name;
    zoom = null;
    router.setQuery({ range, from: null, to: null });
    showRange();
    reload();
  }

  function onZoom(from, to) {
    zoom = { from, to };
    router.setQuery({ from: Math.round(from), to: Math.round(to) });
    showRange();
    reload();
  }

  function showRange() {
    ranges.forEach((each, n) => {
      buttons[n].setAttribute("aria-pressed", String(each === range && !zoom));
    });
    zoomOut.hidden = !zoom;
    if (!zoom) return;
    const isShort = zoom.to - zoom.from < DAY;
    const [from, to] = [zoom.from, zoom.to].map(isShort ? minuteOf : dateTime);
    const back = t("zoom_out", { range: t(`range_${range}`) });
    setText(zoomOut, `${t("zoomed", { from, to })} · ${back}`);
  }

  function take(stats) {
    live.add(stats);
    draw();
  }

  showRange();
  const outcome = (error) => shell.showAway(error?.status === 0);
  const reload = poll(loadHistory, HISTORY_S, signal, outcome);
  if (account.may("monitor") && !account.isConfined) {
    feed.want({ intervalS: STATS_S });
    feed.on(
      "stats",
      ({ stats, busiest }) => {
        take(stats);
        side.showBusiest(busiest);
      },
      signal,
    );
  }
  // Without the feed, and while it reconnects.
  poll(
    async () => feed.state === "open" || take(await get("/stats", {}, signal)),
    STATS_S + 1,
    signal,
    outcome,
  );
  side.start();
  signal.addEventListener("abort", draw.cancel);
}

function makeTile({ label, format, read, page, isBad }) {
  const value = h("b", {}, "–");
  const spark = svg("svg", {
    class: "spark",
    viewBox: `0 0 ${SPARK.width} ${SPARK.height}`,
    "aria-hidden": "true",
    preserveAspectRatio: "none",
  });
  const inside = [h("span", {}, label), value, spark];
  const element = page
    ? h("a", { className: "tile", href: pathTo(page) }, inside)
    : h("div", { className: "tile" }, inside);
  return {
    element,
    show(points, now) {
      const { times, values } = columns(points, [{ key: "v", read }], now - SPARK.ms, now);
      const last = values.v.at(-1);
      setText(value, format(last ?? NaN));
      element.classList.toggle("bad", Boolean(isBad?.(last)));
      const top = Math.max(...values.v.map((each) => each ?? 0), 1e-9);
      const x = (n) => (1 - (now - times[n]) / SPARK.ms) * SPARK.width;
      const y = (n) => SPARK.height - 1 - (values.v[n] / top) * (SPARK.height - 3);
      const path = runsOf(times, values.v)
        .map((run) => linePath(run, x, y))
        .join("");
      fill(spark, svg("path", { d: path }));
    },
  };
}

function zoomIn(query) {
  const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
  return from > 0 && to > from ? { from, to } : null;
}

/** The snapshots that a zoomed range needs: those of the shortest range that is as long. */
function stepFor({ from, to }) {
  const found = Object.values(RANGES).find(({ ms }) => ms >= to - from);
  return found ?? { ms: to - from, step: "2h" };
}
