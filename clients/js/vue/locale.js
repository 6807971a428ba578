/** Language of the components: their texts, and how they write times. */

import { computed, inject, provide, toValue } from "vue";

import { TEXTS } from "./texts.js";

const LOCALE = Symbol.for("@wsserver/client locale");
const DAY_MS = 86_400_000;

/**
 * Set the language of the components below this one, such as `zh-CN` or `en-GB`, also as a ref; texts
 * of your own replace those of the same name. Without it, components have the language of the page.
 */
export function useWsLocale(locale, texts = {}) {
  provide(LOCALE, { locale, texts });
}

/** For `app.use(wsClient, client, {locale, texts})`. */
export function installLocale(app, { locale, texts = {} }) {
  app.provide(LOCALE, { locale, texts });
}

/** For components: `t(name, values)`, by what they say, and the formats of times. */
export function useTexts(known = TEXTS) {
  const { locale, texts } = inject(LOCALE, { texts: {} });
  const language = computed(
    () => toValue(locale) ?? (globalThis.document?.documentElement.lang || "en"),
  );
  const formats = computed(() => formatsByLanguage[language.value] ?? formatsOf(language.value));

  /** A text with its values, which are put in for `{name}`. */
  const t = (name, values = {}) => {
    const text = toValue(texts)?.[name] ?? known[name][/^zh\b/i.test(language.value) ? 1 : 0];
    if (typeof text === "function") return text(values);
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  };
  const time = (at) => formats.value.time(at);
  const day = (at, now = Date.now()) => {
    const age = dayOf(now) - dayOf(at);
    return age === 0 ? t("today") : age === 1 ? t("yesterday") : formats.value.day(at);
  };
  /** The time of today, else the day: for lists. */
  const moment = (at, now = Date.now()) => (dayOf(at) === dayOf(now) ? time(at) : day(at, now));
  const list = (names) => formats.value.list(names);
  return { language, t, time, day, moment, list };
}

/** The number of a day in local time. */
export function dayOf(at) {
  const date = new Date(at);
  return Math.floor((date.getTime() - date.getTimezoneOffset() * 60_000) / DAY_MS);
}

/** By language: they take long to make, and each message needs them. */
const formatsByLanguage = { __proto__: null };

function formatsOf(language) {
  const made = (Format, options) => {
    try {
      return new Format(language, options);
    } catch {
      return new Format("en", options); // what is no language
    }
  };
  const time = made(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit" });
  const day = made(Intl.DateTimeFormat, { day: "numeric", month: "short", year: "numeric" });
  const list = made(Intl.ListFormat, { type: "conjunction" });
  // A server of another version may send a time that is none.
  const safe = (format) => (at) =>
    Number.isNaN(Date.parse(at)) && typeof at !== "number" ? "" : format(new Date(at));
  return (formatsByLanguage[language] = {
    time: safe((at) => time.format(at)),
    day: safe((at) => day.format(at)),
    list: (names) => list.format(names),
  });
}
