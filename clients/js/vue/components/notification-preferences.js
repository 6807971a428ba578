/** What a user wants to be notified of: kinds by channels, quiet hours, a daily digest. */

import { computed, defineComponent, h, ref, useId } from "vue";

import { useTexts } from "../locale.js";
import { PREFERENCE_TEXTS, TEMPLATE_NAMES } from "../preference-texts.js";
import { useNotificationPreferences } from "../use-preferences.js";

const CHANNELS = ["websocket", "push", "sms", "email"];
const OTHERS = "*";
const NIGHT = { start: "22:00", end: "07:00" };
const NEVER = { start: "00:00", end: "00:00" }; // also those of the contacts do not count
const MORNING = "08:00";
const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

export const WsNotificationPreferences = defineComponent({
  name: "WsNotificationPreferences",
  props: {
    /** What `useNotificationPreferences` gave; default: its own. */
    preferences: { type: Object, default: null },
    /** Templates that are listed, in this order; default: all of the server. */
    templates: { type: Array, default: null },
    /** Channels that are listed. */
    channels: { type: Array, default: () => CHANNELS },
    /** Names of templates, in place of those that are made of their ids. */
    names: { type: Object, default: () => ({}) },
  },
  setup(props, { slots }) {
    const chosen = props.preferences ?? useNotificationPreferences();
    const { preferences, error, isSaving, isOn, setChannel } = chosen;
    const { t } = useTexts(PREFERENCE_TEXTS);
    const { t: nameOf } = useTexts(TEMPLATE_NAMES);
    const id = useId();
    const progress = ref(null); // name of the text about the latest change
    const typed = ref(null); // `{name, text}` of the field in which the user types

    /** Do a change of the user, and tell how far it is. */
    async function save(make, ...given) {
      progress.value = "preferencesSaving";
      const isSaved = await make(...given);
      if (!isSaving.value) progress.value = isSaved ? "preferencesSaved" : null;
    }

    const listed = computed(() => props.templates ?? chosen.templates.value);
    const quiet = computed(() => {
      const hours = preferences.value.quiet_hours;
      return hours && hours.start !== hours.end ? hours : null;
    });

    function templateName(template) {
      if (template === OTHERS) return t(listed.value.length > 0 ? "allOthers" : "everything");
      if (Object.hasOwn(props.names, template)) return props.names[template];
      if (Object.hasOwn(TEMPLATE_NAMES, template)) return nameOf(template);
      const words = template.replaceAll("_", " ");
      return words.charAt(0).toUpperCase() + words.slice(1);
    }

    function cell(template, channel) {
      const label = `${templateName(template)}: ${t(channel)}`;
      const box = {
        type: "checkbox",
        checked: isOn(template, channel),
        "aria-label": label,
        onChange: ({ target }) => save(setChannel, template, channel, target.checked),
      };
      return h("td", { key: channel }, [h("label", [h("input", box)])]);
    }

    function row(template) {
      const name = templateName(template);
      return h("tr", { key: template }, [
        h("th", { scope: "row" }, slots.name?.({ template, name }) ?? name),
        props.channels.map((channel) => cell(template, channel)),
      ]);
    }

    function matrix() {
      const head = [t("kind"), ...props.channels.map((channel) => t(channel))];
      return h("section", [
        h("table", [
          h("caption", t("channels")),
          h("thead", [h("tr", head.map((text) => h("th", { key: text, scope: "col" }, text)))]),
          h("tbody", [...listed.value, OTHERS].map(row)),
        ]),
        h("p", { class: "ws-meta" }, t("alwaysUrgent")),
      ]);
    }

    /** A part that is switched on and off, with its fields while it is on. */
    function part(name, hint, isThere, onSwitch, fields) {
      const box = {
        type: "checkbox",
        checked: isThere,
        "aria-describedby": `${id}-${name}`,
        onChange: ({ target }) => save(onSwitch, target.checked),
      };
      return h("section", { class: "ws-part" }, [
        h("label", { class: "ws-switch" }, [h("input", box), t(name)]),
        h("p", { id: `${id}-${name}`, class: "ws-meta" }, hint),
        isThere ? h("div", { class: "ws-fields" }, fields()) : null,
      ]);
    }

    function field(name, label, value, onValue, more = {}) {
      const input = {
        id: `${id}-${name}`,
        // What is stored meanwhile, as by the change before, does not replace what is typed.
        value: typed.value?.name === name ? typed.value.text : value,
        onInput({ target }) {
          typed.value = { name, text: target.value };
        },
        onChange({ target }) {
          typed.value = null;
          if (target.value) save(onValue, target.value);
          else target.value = value;
        },
        onBlur() {
          typed.value = null;
        },
        ...more,
      };
      return h("div", { key: name, class: "ws-field" }, [
        h("label", { for: input.id }, label),
        h("input", input),
      ]);
    }

    const zone = (name, value, onValue) =>
      field(name, t("timeZone"), value, onValue, {
        ...{ list: `${id}-zones`, maxlength: 64, spellcheck: false },
      });

    function quietHours() {
      const hours = quiet.value;
      const set = (changes) => chosen.setQuietHours({ ...hours, ...changes });
      const onSwitch = (isThere) =>
        chosen.setQuietHours({ ...(isThere ? NIGHT : NEVER), time_zone: ownZone() });
      const isOfContacts = hours && preferences.value.quiet_hours_from === "contacts";
      const hint = isOfContacts ? `${t("quietHint")} ${t("quietContacts")}` : t("quietHint");
      return part("quietHours", hint, hours !== null, onSwitch, () => [
        field("start", t("from"), hours.start, (start) => set({ start }), { type: "time" }),
        field("end", t("until"), hours.end, (end) => set({ end }), { type: "time" }),
        zone("quiet-zone", hours.time_zone, (time_zone) => set({ time_zone })),
      ]);
    }

    function dailyDigest() {
      const digest = preferences.value.daily_digest;
      const set = (changes) => chosen.setDailyDigest({ ...digest, ...changes });
      const ways = props.channels.filter((name) => name !== "websocket");
      const first = ways.includes("email") ? "email" : ways[0];
      const onSwitch = (isThere) =>
        chosen.setDailyDigest(
          isThere ? { at: MORNING, time_zone: ownZone(), channels: [first] } : null,
        );
      const way = (name) => {
        const isThere = digest.channels.includes(name);
        const box = {
          type: "checkbox",
          checked: isThere,
          disabled: isThere && digest.channels.length === 1, // without any it would be no digest
          onChange: ({ target }) => {
            const others = digest.channels.filter((each) => each !== name);
            save(set, { channels: target.checked ? [...others, name] : others });
          },
        };
        return h("label", { key: name, class: "ws-switch" }, [h("input", box), t(name)]);
      };
      return part("dailyDigest", t("digestHint"), digest !== null, onSwitch, () => [
        field("at", t("at"), digest.at, (at) => set({ at }), { type: "time" }),
        zone("digest-zone", digest.time_zone, (time_zone) => set({ time_zone })),
        h("div", { class: "ws-field", role: "group", "aria-labelledby": `${id}-by` }, [
          h("span", { id: `${id}-by` }, t("by")),
          h("div", { class: "ws-ways" }, ways.map(way)),
        ]),
      ]);
    }

    function status() {
      if (error.value) {
        const { message: reason } = error.value;
        const text = t(preferences.value ? "notSaved" : "notLoaded", { reason });
        return h("p", { class: "ws-error", role: "alert" }, text);
      }
      const name = preferences.value ? progress.value : "preferencesLoading";
      return h("p", { class: "ws-meta ws-state", role: "status" }, name && t(name));
    }

    return () =>
      h("div", { class: "ws ws-preferences", role: "group", "aria-label": t("notificationPreferences") }, [
        preferences.value
          ? [
              matrix(),
              quietHours(),
              props.channels.some((each) => each !== "websocket") ? dailyDigest() : null,
              h("datalist", { id: `${id}-zones` }, zones().map((value) => h("option", { value }))),
            ]
          : null,
        status(),
      ]);
  },
});

let known = null;

/** The time zones that the browser knows; asked for once. */
function zones() {
  known ??= Intl.supportedValuesOf?.("timeZone") ?? [];
  return known;
}
