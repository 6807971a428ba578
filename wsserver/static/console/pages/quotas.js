/** Quotas: all with their use, or one with its usage over time. */

import { get, id, request } from "../parts/api.js";
import { at, button, facts, heading, panel, pill, userLink, when } from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { input, labelled, select } from "../parts/forms.js";
import { compact, number } from "../parts/format.js";
import { keepLoaded } from "../parts/list_loader.js";
import { Crosshair, Plot } from "../parts/plot.js";
import { poll } from "../parts/polling.js";
import { pathTo } from "../parts/router.js";
import { DataTable } from "../parts/table.js";
import { toast } from "../parts/toasts.js";
import { bar } from "./tasks.js";
import { t } from "./work_texts.js";

const HOUR = 3_600_000;
const RANGES = {
  "24h": { ms: 24 * HOUR, step: "1h" },
  "7d": { ms: 168 * HOUR, step: "6h" },
  "30d": { ms: 720 * HOUR, step: "1d" },
};
const PERIODS = ["day", "month", "total"];
const AT_LIMIT = ["warn", "stop"];
const SOURCES = 6;
const NEARLY = 0.8;
const USAGE_S = 15;

export function show(context) {
  return context.id === null ? showAll(context) : showOne(context);
}

function showAll({ root, query, signal, account, router, shell }) {
  const shareOf = (row) => (row.limit > 0 ? row.used / row.limit : 0);
  const table = new DataTable({
    label: t("quotas"),
    columns: [
      {
        key: "scope",
        label: t("scope"),
        value: (row) => row.scope,
        cell: (row) => h("a", { href: pathTo("quotas", row.scope) }, row.scope),
      },
      {
        key: "share",
        label: t("part"),
        value: shareOf,
        cell: (row) => [
          bar(shareOf(row), kindOf(row)),
          row.exhausted ? [" ", pill(t("exhausted"), "error")] : null,
        ],
      },
      {
        key: "used",
        label: t("used"),
        value: (row) => row.used,
        cell: (row) => number(row.used),
        isNumber: true,
      },
      {
        key: "limit",
        label: t("limit"),
        value: (row) => row.limit,
        cell: (row) => number(row.limit),
        isNumber: true,
      },
      { key: "unit", label: t("unit"), value: (row) => row.unit },
      { key: "period", label: t("period"), value: (row) => periodName(row.period) },
      {
        key: "resets",
        label: t("resets"),
        value: (row) => row.resets_at,
        cell: (row) => when(row.resets_at),
        isWide: true,
      },
      {
        key: "cost",
        label: t("cost"),
        value: (row) => row.cost,
        cell: (row) => money(row.cost, row),
        isNumber: true,
        isWide: true,
      },
      {
        key: "budget",
        label: t("budget"),
        value: (row) => row.budget,
        cell: (row) => money(row.budget, row),
        isNumber: true,
        isWide: true,
      },
      {
        key: "at_limit",
        label: t("at_limit"),
        value: (row) => t(`at_limit_${row.at_limit}`),
        isWide: true,
      },
    ],
    keyOf: (row) => row.scope,
    sort: "-share",
    file: "quotas",
    router,
    query,
  });
  const note = h("div", { className: "note" });
  const actions = account.may("quotas:manage")
    ? [button(t("new_quota"), async () => (await edit(null)) && reload())]
    : [];
  root.append(
    heading(t("quotas"), { actions }),
    h("p", { className: "hint" }, t("quotas_hint")),
    note,
    table.element,
  );
  const reload = keepLoaded({ path: "/quotas", name: "quotas", table, note, signal, shell });
}

async function showOne({ root, id: scope, query, signal, account, router, shell }) {
  const ranges = Object.keys(RANGES);
  let range = ranges.includes(query.get("range")) ? query.get("range") : "7d";
  let quota = account.may("quotas:manage") ? await get(`/quotas/${id(scope)}`, {}, signal) : null;
  const what = h("div");
  const place = h("div", { className: "usage" });
  const buttons = ranges.map((each) =>
    h("button", { type: "button", onclick: () => choose(each) }, t(`range_${each}`)),
  );
  const actions = quota
    ? [
        button(t("edit"), async () => (await edit(quota)) && load()),
        button(
          t("delete"),
          async () => (await remove(scope)) && router.go(pathTo("quotas")),
          "quiet danger",
        ),
      ]
    : [];
  root.append(
    heading(t("quota"), {
      back: { href: pathTo("quotas"), label: t("quotas") },
      beside: [h("code", {}, scope)],
      actions,
    }),
    quota ? panel(t("quota"), what) : "",
    h(
      "div",
      { className: "row spread" },
      h("span"),
      h("div", { className: "segments", role: "group", "aria-label": t("range") }, buttons),
    ),
    place,
  );

  function choose(name) {
    range = name;
    router.setQuery({ range });
    showRange();
    load();
  }

  function showRange() {
    ranges.forEach((each, n) => buttons[n].setAttribute("aria-pressed", String(each === range)));
  }

  let plot = null;
  let shown = "";
  async function read() {
    const { ms, step } = RANGES[range];
    const to = Date.now();
    const asked = { scope, since: new Date(to - ms).toISOString(), step };
    const { usage, step_s: stepS } = await get("/usage", asked, signal);
    if (quota) {
      quota = await get(`/quotas/${id(scope)}`, {}, signal);
      fill(what, factsOf(quota));
    }
    const sources = [...new Set(usage.map(({ source }) => source))].sort().slice(0, SOURCES);
    if (sources.join("\n") !== shown || !plot) {
      shown = sources.join("\n");
      const series = (sources.length ? sources : [""]).map((each, n) => ({
        key: `s${n}`,
        label: each || t("no_source"),
      }));
      plot = new Plot({
        title: t("usage"),
        format: number,
        axis: compact,
        isArea: true,
        series,
        crosshair: new Crosshair(),
        signal,
      });
      fill(place, plot.element);
    }
    plot.show(columnsOf(usage, sources, to - ms, to, stepS * 1000));
  }

  showRange();
  const load = poll(read, USAGE_S, signal, (error) => {
    shell.showAway(error?.status === 0);
    if (error && error.status !== 0 && !plot)
      fill(place, h("p", { className: "problem" }, error.message));
  });
}

/** Usage of each step and source, 0 where there is none. */
function columnsOf(usage, sources, from, to, step) {
  const times = [];
  for (let time = Math.floor(from / step) * step; time <= to; time += step) times.push(time);
  const values = Object.fromEntries(
    (sources.length ? sources : [""]).map((_, n) => [`s${n}`, times.map(() => 0)]),
  );
  for (const { at: time, source, amount } of usage) {
    const place = Math.round((Date.parse(time) - times[0]) / step);
    const column = values[`s${sources.indexOf(source)}`];
    if (column && place >= 0 && place < times.length) column[place] += amount;
  }
  return { times, values, from: times[0], to };
}

function factsOf(quota) {
  return facts([
    [
      t("used"),
      [
        bar(quota.limit > 0 ? quota.used / quota.limit : 0, kindOf(quota)),
        ` ${number(quota.used)} / ${number(quota.limit)} ${quota.unit}`,
      ],
    ],
    [t("remaining"), `${number(quota.remaining)} ${quota.unit}`],
    [t("period"), `${periodName(quota.period)} (${quota.timezone})`],
    [t("resets"), quota.resets_at && when(quota.resets_at)],
    [t("cost"), money(quota.cost, quota)],
    [t("budget"), quota.budget === null ? null : money(quota.budget, quota)],
    [
      t("at_limit"),
      [
        t(`at_limit_${quota.at_limit}`),
        quota.exhausted ? [" ", pill(t("exhausted"), "error")] : null,
      ],
    ],
    [t("by"), [userLink(quota.updated_by), " ", at(quota.updated_at)]],
  ]);
}

async function edit(quota) {
  const fields = {
    scope: input("scope", {
      required: true,
      maxLength: 141,
      value: quota?.scope ?? "organization:",
      disabled: quota !== null,
    }),
    limit: input("limit", {
      type: "number",
      min: 0,
      step: "any",
      required: true,
      value: quota?.limit ?? "",
    }),
    unit: input("unit", { required: true, maxLength: 32, value: quota?.unit ?? "tokens" }),
    period: select(
      "period",
      PERIODS.map((each) => [each, periodName(each)]),
      quota?.period ?? "month",
    ),
    timezone: input("timezone", { required: true, value: quota?.timezone ?? "UTC" }),
    at_limit: select(
      "at_limit",
      AT_LIMIT.map((each) => [each, t(`at_limit_${each}`)]),
      quota?.at_limit ?? "warn",
    ),
    budget: input("budget", { type: "number", min: 0, step: "any", value: quota?.budget ?? "" }),
    currency: input("currency", { maxLength: 8, value: quota?.currency ?? "" }),
  };
  const result = await confirmAction({
    title: quota ? `${t("edit")}: ${quota.scope}` : t("new_quota"),
    confirm: t("save"),
    fields: Object.entries(fields).map(([name, field]) => labelled(t(name), field)),
    preview: () => [],
    act: () => {
      const body = {
        limit: Number(fields.limit.value),
        unit: fields.unit.value,
        period: fields.period.value,
      };
      Object.assign(body, { timezone: fields.timezone.value, at_limit: fields.at_limit.value });
      if (fields.budget.value !== "") body.budget = Number(fields.budget.value);
      if (fields.currency.value) body.currency = fields.currency.value;
      return request("PUT", `/quotas/${id(fields.scope.value.trim())}`, { body });
    },
  });
  if (result) toast(t("saved"), { kind: "success" });
  return result !== null;
}

async function remove(scope) {
  const result = await confirmAction({
    title: t("delete_title", { scope }),
    confirm: t("delete"),
    isDanger: true,
    preview: () => h("p", {}, t("delete_preview")),
    act: () => request("DELETE", `/quotas/${id(scope)}`),
  });
  if (result) toast(t("deleted"), { kind: "success" });
  return result !== null;
}

function kindOf({ used, limit }) {
  if (used >= limit) return "error";
  return used >= NEARLY * limit ? "warning" : "";
}

function periodName(period) {
  return t.has(`period_${period}`) ? t(`period_${period}`) : period;
}

function money(amount, { currency }) {
  return amount === null ? "–" : [number(amount), currency].filter(Boolean).join(" ");
}
