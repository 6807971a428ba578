/** Plots over time, as SVG: crosshair in all plots of a page, zoom by dragging, a table behind each. */

import { fill, h, icon, oncePerFrame, setText, svg } from "./dom.js";
import { dateTime, dayOf, minuteOf, timeOf } from "./format.js";
import * as math from "./plot_math.js";
import { openDialog } from "./dialog.js";
import { t } from "./texts.js";

const HEIGHT = 150;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 18;
const TABLE_ROWS = 120;
const SMALLEST_ZOOM_PX = 8;
const DAY_MS = 86_400_000;

/** The time under the pointer, shared by the plots of a page; null: none. */
export class Crosshair extends EventTarget {
  time = null;

  move(time) {
    if (time === this.time) return;
    this.time = time;
    this.dispatchEvent(new Event("move"));
  }
}

export class Plot {
  #options;
  #crosshair;
  #svg = svg("svg", { class: "plot-area", height: HEIGHT, role: "img", tabindex: "0" });
  #spoken = h("p", { className: "unseen", "aria-live": "polite" });
  #legend;
  #hidden = new Set(); // keys of the lines that are not drawn
  #cursor = svg("g", { class: "plot-cursor", "pointer-events": "none" });
  #data = { times: [], values: {}, from: 0, to: 1 };
  #width = 0;
  #top = 1;
  #drag = null;
  #draw = oncePerFrame(() => this.#render());
  #point = oncePerFrame(() => this.#renderCursor());

  /**
   * @param {{title: string, format: (value: number) => string, axis?: (value: number) => string,
   *   series: {key: string, label: string}[], isArea?: boolean, isBinary?: boolean, isWhole?: boolean,
   *   crosshair: Crosshair, onZoom?: (from: number, to: number) => void, signal: AbortSignal}} options
   */
  constructor(options) {
    this.#options = options;
    this.#crosshair = options.crosshair;
    this.#legend = options.series.map(({ key, label }, n) => {
      const value = h("b", {}, "–");
      const parts = [h("i", {}), h("span", {}, label), value];
      const onclick = ({ currentTarget }) => this.#toggle(key, currentTarget);
      const attributes = { type: "button", "aria-pressed": "true", title: t("hide_line"), onclick };
      const isOnly = options.series.length === 1;
      const item = h("li", { className: `s${n}` }, isOnly ? parts : h("button", attributes, parts));
      return { item, value };
    });
    const table = h(
      "button",
      { type: "button", className: "icon", onclick: () => this.#showTable(), title: t("as_table") },
      icon("table"),
    );
    table.setAttribute("aria-label", t("as_table_of", { title: options.title }));
    this.#svg.setAttribute("aria-label", options.title); // until there is something to describe
    this.element = h(
      "figure",
      { className: "plot" },
      h("figcaption", {}, h("span", {}, options.title), table),
      this.#svg,
      h(
        "ul",
        { className: "legend" },
        this.#legend.map(({ item }) => item),
      ),
      this.#spoken,
    );
    this.#listen(options.signal);
  }

  /** Hide a line, or show it again; the others take all of the height. */
  #toggle(key, button) {
    if (!this.#hidden.delete(key)) this.#hidden.add(key);
    const isShown = !this.#hidden.has(key);
    button.setAttribute("aria-pressed", String(isShown));
    button.title = t(isShown ? "hide_line" : "show_line");
    this.#draw();
  }

  #valuesOf(key) {
    return this.#hidden.has(key) ? [] : (this.#data.values[key] ?? []);
  }

  /** Show data: `times` in ms, ascending; `values[key]`: a number or null for each time. */
  show(data) {
    this.#data = data;
    this.#draw();
  }

  #listen(signal) {
    const resized = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width === this.#width) return;
      this.#width = width;
      this.#draw();
    });
    resized.observe(this.#svg);
    signal.addEventListener("abort", () => resized.disconnect());
    this.#crosshair.addEventListener("move", this.#point, { signal });
    const at = (event) => this.#timeAt(event.clientX - this.#svg.getBoundingClientRect().left);
    this.#svg.addEventListener("pointermove", (event) => this.#crosshair.move(at(event)));
    this.#svg.addEventListener("pointerleave", () => this.#crosshair.move(null));
    this.#svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.#options.onZoom || event.pointerType === "touch") return;
      this.#drag = at(event);
      this.#svg.setPointerCapture(event.pointerId);
    });
    this.#svg.addEventListener("pointerup", (event) => this.#zoom(at(event)));
    this.#svg.addEventListener("pointercancel", () => (this.#drag = null));
    this.#svg.addEventListener("keydown", (event) => this.#onKey(event));
    this.#svg.addEventListener("blur", () => this.#crosshair.move(null));
  }

  #zoom(end) {
    const start = this.#drag;
    this.#drag = null;
    this.#point();
    if (start === null) return;
    const { from, to } = this.#data;
    const smallest = (SMALLEST_ZOOM_PX / Math.max(1, this.#inner())) * (to - from);
    if (Math.abs(end - start) > smallest) {
      this.#options.onZoom(Math.min(start, end), Math.max(start, end));
    }
  }

  #onKey(event) {
    const { times } = this.#data;
    const last = times.length - 1;
    const now = this.#crosshair.time;
    const at = now === null ? last : math.nearest(times, now);
    const moves = { ArrowLeft: at - (now !== null), ArrowRight: at + 1, Home: 0, End: last };
    if (event.key === "Escape") this.#crosshair.move(null);
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    const n = Math.max(0, Math.min(last, moves[event.key]));
    this.#crosshair.move(times[n]);
    setText(this.#spoken, `${dateTime(times[n])}: ${this.#readAt(n)}`);
  }

  #readAt(n) {
    const { series, format } = this.#options;
    const read = ({ key, label }) => `${label} ${format(this.#data.values[key]?.[n] ?? NaN)}`;
    return series.map(read).join(", ");
  }

  #inner() {
    return this.#width - LEFT - RIGHT;
  }

  #xOf(time) {
    const { from, to } = this.#data;
    return LEFT + ((time - from) / (to - from)) * this.#inner();
  }

  #timeAt(x) {
    const { from, to } = this.#data;
    const share = Math.max(0, Math.min(1, (x - LEFT) / Math.max(1, this.#inner())));
    return from + share * (to - from);
  }

  #yOf(value) {
    return HEIGHT - BOTTOM - (value / this.#top) * (HEIGHT - TOP - BOTTOM);
  }

  #render() {
    const { times, from, to } = this.#data;
    const { series, isArea, isBinary, isWhole, axis, format } = this.#options;
    if (this.#width < LEFT + RIGHT + 20) return;
    const lists = series.map(({ key }) => this.#valuesOf(key));
    const ticks = math.valueTicks(math.maximum(lists), 4, { isBinary, isWhole });
    this.#top = ticks.at(-1);
    const base = HEIGHT - BOTTOM;
    const x = (n) => this.#xOf(times[n]);
    const grid = ticks.map((value) => {
      const y = Math.round(this.#yOf(value)) + 0.5;
      const label = svg(
        "text",
        { x: LEFT - 6, y: y + 3, "text-anchor": "end" },
        (axis ?? format)(value),
      );
      return [svg("path", { d: `M${LEFT} ${y}H${this.#width - RIGHT}` }), label];
    });
    const { ticks: moments, step } = math.timeTicks(from, to, this.#inner() / 75);
    const marks = moments.map((time) => {
      const at = Math.round(this.#xOf(time)) + 0.5;
      const anchor = at > this.#width - 24 ? "end" : "middle";
      const label = svg(
        "text",
        { x: at, y: HEIGHT - 4, "text-anchor": anchor },
        momentText(time, step),
      );
      return [svg("path", { d: `M${at} ${TOP}V${base}` }), label];
    });
    const lines = lists.map((list, n) => {
      const y = (index) => this.#yOf(list[index]);
      const runs = math.runsOf(times, list);
      const area =
        isArea && n === 0 ? runs.map((run) => math.areaPath(run, x, y, base)).join("") : "";
      return svg(
        "g",
        { class: `s${n}` },
        area && svg("path", { class: "plot-fill", d: area }),
        svg("path", {
          class: "plot-line",
          d: runs.map((run) => math.linePath(run, x, y)).join(""),
        }),
      );
    });
    const empty = lists.every((list) =>
      list.every((value) => value === null || value === undefined),
    );
    const note = empty
      ? svg(
          "text",
          {
            class: "plot-empty",
            x: LEFT + this.#inner() / 2,
            y: HEIGHT / 2,
            "text-anchor": "middle",
          },
          t("no_data"),
        )
      : null;
    const [gridLayer, markLayer] = [
      svg("g", { class: "plot-grid" }, grid),
      svg("g", { class: "plot-grid" }, marks),
    ];
    // The first line is drawn last, on top.
    fill(this.#svg, gridLayer, markLayer, lines.reverse(), note, this.#cursor);
    this.#svg.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#svg.setAttribute("aria-label", this.#summary(lists));
    this.#renderCursor();
  }

  #renderCursor() {
    const { times, values } = this.#data;
    const { series, format } = this.#options;
    const time = this.#crosshair.time;
    const n = time === null ? times.length - 1 : math.nearest(times, time);
    series.forEach(({ key }, index) => {
      setText(this.#legend[index].value, format(values[key]?.[n] ?? NaN));
    });
    if (time === null || n < 0 || this.#width === 0) return this.#cursor.replaceChildren();
    const x = this.#xOf(times[n]);
    const dots = series.map(({ key }, index) => {
      const value = this.#valuesOf(key)[n];
      if (value === null || value === undefined) return null;
      return svg("circle", { class: `s${index}`, cx: x, cy: this.#yOf(value), r: 3 });
    });
    const base = HEIGHT - BOTTOM;
    const isLeft = x > LEFT + this.#inner() / 2;
    const label = svg(
      "text",
      { x: isLeft ? x - 5 : x + 5, y: TOP + 8, "text-anchor": isLeft ? "end" : "start" },
      times[n] > Date.now() - DAY_MS ? timeOf(times[n]) : dateTime(times[n]),
    );
    let zoomed = null;
    if (this.#drag !== null) {
      const [a, b] = [this.#xOf(this.#drag), this.#xOf(time)].sort((one, other) => one - other);
      zoomed = svg("rect", { class: "plot-zoom", x: a, y: TOP, width: b - a, height: base - TOP });
    }
    fill(this.#cursor, zoomed, svg("path", { d: `M${x} ${TOP}V${base}` }), dots, label);
  }

  #summary(lists) {
    const { title, series, format } = this.#options;
    const parts = series.map(({ key, label }, n) => {
      const list = lists[n].filter((value) => value !== null && value !== undefined);
      if (!list.length) return `${label}: ${t(this.#hidden.has(key) ? "hidden" : "no_data")}`;
      const [low, high] = [Math.min(...list), Math.max(...list)].map(format);
      return t("plot_summary", { label, now: format(list.at(-1)), low, high });
    });
    return `${title}. ${parts.join("; ")}`;
  }

  #showTable() {
    const { title, series, format } = this.#options;
    const { times, values } = this.#data;
    const rows = math.spread(times.length, TABLE_ROWS).reverse();
    const table = h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, t("time")),
          series.map(({ label }) => h("th", { scope: "col", className: "number" }, label)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((n) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, dateTime(times[n])),
            series.map(({ key }) =>
              h("td", { className: "number" }, format(values[key]?.[n] ?? NaN)),
            ),
          ),
        ),
      ),
    );
    openDialog({
      title,
      content: h(
        "div",
        { className: "scroll", tabIndex: 0, role: "group", "aria-label": title },
        table,
      ),
    });
  }
}

function momentText(time, step) {
  if (step < 60_000) return timeOf(time);
  const moment = new Date(time);
  const isMidnight = moment.getHours() === 0 && moment.getMinutes() === 0;
  return step >= DAY_MS || isMidnight ? dayOf(time) : minuteOf(time);
}
