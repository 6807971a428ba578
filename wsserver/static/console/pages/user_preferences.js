/** What a user has chosen about notifications: shown, and changed in a dialog. */

import { get, id, request } from "../parts/api.js";
import { facts } from "../parts/blocks.js";
import { confirmAction } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { input, labelled } from "../parts/forms.js";
import { toast } from "../parts/toasts.js";
import { t } from "./preference_texts.js";

const CHANNELS = ["websocket", "push", "sms", "email"];
const DAILY = ["push", "sms", "email"];
const ALL = "*";
const STATES = { on: true, off: false };

const pathOf = (userId) => `/users/${id(userId)}/preferences`;
const channel = (name) => t(`channel_${name}`);
const templateName = (name) => (name === ALL ? t("all_templates") : name);
const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

/** Show the preferences of a user; the panel goes where the server has none. */
export async function showPreferences(place, userId, signal) {
  try {
    render(place, await get(pathOf(userId), {}, signal));
  } catch (error) {
    if (error.status !== 404) throw error;
    place.closest("section").remove(); // an older server
  }
}

function render(place, found) {
  const { quiet_hours: quiet, quiet_hours_from: source, daily_digest: daily } = found;
  const templates = Object.entries(found.channels).sort(([a], [b]) => (a < b ? -1 : 1));
  const list = facts([
    ...templates.map(([name, switches]) => [templateName(name), switchesText(switches)]),
    [t("quiet_hours"), quiet && quietText(quiet, source)],
    [t("digest"), daily && `${daily.at} ${daily.time_zone}: ${daily.channels.map(channel).join(", ")}`],
  ]);
  fill(place, list.childElementCount ? list : h("p", { className: "hint" }, t("no_preferences")));
}

function switchesText(switches) {
  const words = Object.entries(switches).map(
    ([name, isOn]) => `${channel(name)} ${t(isOn ? "on" : "off")}`,
  );
  return words.join(", ");
}

function quietText({ start, end, time_zone: zone }, source) {
  const note = source === "contacts" ? ` (${t("of_contacts")})` : "";
  return `${start}–${end} ${zone}${note}`;
}

/** Ask for other preferences of a user, save them, and show them. */
export async function changePreferences(place, userId) {
  const switches = new Switches();
  const quiet = {
    start: input("quiet_start", { type: "time" }),
    end: input("quiet_end", { type: "time" }),
    time_zone: input("quiet_zone", { maxLength: 64, value: ownZone() }),
  };
  const daily = {
    at: input("digest_at", { type: "time" }),
    time_zone: input("digest_zone", { maxLength: 64, value: ownZone() }),
  };
  const boxes = DAILY.map((name) =>
    h("input", { type: "checkbox", name: "digest_channel", value: name, checked: name === "email" }),
  );
  let before = {};
  const chosen = () => ({
    quiet_hours: quiet.start.value || quiet.end.value ? valuesOf(quiet) : null,
    daily_digest: daily.at.value
      ? {
          ...valuesOf(daily),
          channels: boxes.filter(({ checked }) => checked).map(({ value }) => value),
        }
      : null,
  });
  const saved = await confirmAction({
    title: t("preferences_of", { user: userId }),
    confirm: t("save"),
    fields: [
      switches.elements,
      labelled(t("quiet_from"), quiet.start, t("quiet_hint")),
      labelled(t("quiet_until"), quiet.end),
      labelled(t("quiet_zone"), quiet.time_zone),
      labelled(t("digest_at"), daily.at, t("digest_hint")),
      labelled(t("digest_zone"), daily.time_zone),
      checkboxes(t("digest_channels"), boxes),
    ].flat(),
    preview: async () => {
      const found = await get(pathOf(userId));
      switches.show(found);
      if (found.quiet_hours_from === "preferences") setValues(quiet, found.quiet_hours);
      if (found.daily_digest) {
        setValues(daily, found.daily_digest);
        for (const box of boxes) box.checked = found.daily_digest.channels.includes(box.value);
      }
      before = chosen();
      return [];
    },
    act: () => {
      const body = { channels: switches.changes };
      for (const [name, value] of Object.entries(chosen())) {
        if (JSON.stringify(value) !== JSON.stringify(before[name])) body[name] = value;
      }
      return request("PATCH", pathOf(userId), { body });
    },
  });
  if (saved === null) return;
  render(place, saved);
  toast(t("saved"), { kind: "success" });
}

/** The switches of one template at a time; what was changed for others is kept. */
class Switches {
  changes = {}; // template -> channel -> on, off, or null: as for all
  #stored = {};
  #template = h("select", { name: "template", onchange: () => this.#showOne() });
  #fields = CHANNELS.map((name) => [
    name,
    h("select", { name, onchange: (event) => this.#chosen(name, event.target.value) }),
  ]);

  get elements() {
    return [
      labelled(t("template"), this.#template),
      ...this.#fields.map(([name, field]) => labelled(channel(name), field)),
    ];
  }

  show({ channels, templates }) {
    this.#stored = channels;
    fill(
      this.#template,
      [ALL, ...templates].map((name) => h("option", { value: name }, templateName(name))),
    );
    this.#showOne();
  }

  #showOne() {
    const template = this.#template.value;
    const isAll = template === ALL;
    const options = isAll ? ["on", "off"] : ["", "on", "off"];
    const switches = { ...this.#stored[template], ...this.changes[template] };
    for (const [name, field] of this.#fields) {
      const isOn = switches[name] ?? null;
      fill(
        field,
        options.map((value) => h("option", { value }, t(value || "as_all"))),
      );
      field.value = isOn === null ? options[0] : isOn ? "on" : "off";
    }
  }

  #chosen(name, value) {
    const template = this.#template.value;
    const isDefault = value === "" || (template === ALL && value === "on");
    (this.changes[template] ??= {})[name] = isDefault ? null : STATES[value];
  }
}

function checkboxes(label, boxes) {
  const shown = boxes.map((box) =>
    h("label", { className: "choice" }, box, channel(box.value)),
  );
  return h(
    "div",
    { className: "field" },
    h("span", { className: "label", id: "digest-channels" }, label),
    h("div", { className: "choices", role: "group", "aria-labelledby": "digest-channels" }, shown),
  );
}

const valuesOf = (fields) =>
  Object.fromEntries(Object.entries(fields).map(([name, { value }]) => [name, value.trim()]));

function setValues(fields, values) {
  for (const [name, field] of Object.entries(fields)) field.value = values[name];
}
