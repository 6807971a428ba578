/** Colours chosen by the reader, kept by the browser. */

const KEY = "wsserver.console.theme";
const THEMES = ["auto", "light", "dark"];

export function theme() {
  try {
    const stored = localStorage.getItem(KEY);
    return THEMES.includes(stored) ? stored : "auto";
  } catch {
    return "auto";
  }
}

export function chooseTheme(chosen) {
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // storage is switched off: for this page only
  }
  applyTheme(chosen);
}

export function applyTheme(chosen = theme()) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}
