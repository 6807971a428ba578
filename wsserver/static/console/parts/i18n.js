/** The language of the console, and its texts: pairs of English and Chinese. */

const KEY = "wsserver.console.language";
const LANGUAGES = ["en", "zh-CN"];

const stored = read(KEY);
const isChinese = navigator.language.toLowerCase().startsWith("zh");

/** `en` or `zh-CN`: chosen before, else as the browser prefers. */
export const LANGUAGE = LANGUAGES.includes(stored) ? stored : LANGUAGES[isChinese ? 1 : 0];

const column = LANGUAGES.indexOf(LANGUAGE);

/**
 * A function that gives the texts of a table `{ name: [english, chinese] }`; `{blanks}` are filled in.
 *
 * `t.has(name)`: whether there is such a text, as for states that a newer server may have.
 */
export function texts(table) {
  const t = (name, values = {}) => {
    const text = Object.hasOwn(table, name) ? table[name][column] : name;
    return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "").trim();
  };
  t.has = (name) => Object.hasOwn(table, name);
  return t;
}

/** Use another language from now on: the page is loaded again. */
export function chooseLanguage(language) {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    return; // storage is switched off: the browser's language stays
  }
  location.reload();
}

/** Put texts into the elements of static markup that name them (`data-text`, `data-label`). */
export function translate(root, t) {
  document.documentElement.lang = LANGUAGE;
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = t(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
  }
}

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
