/** The frame of the console: navigation by permission, account, state of the live feed, notices. */

import { labelOf } from "../pages.js";
import { byId, fill, h, setText } from "./dom.js";
import { dateTime } from "./format.js";
import { LANGUAGE, chooseLanguage } from "./i18n.js";
import { chooseTheme, theme } from "./preferences.js";
import { pathTo } from "./router.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

const FEED_TEXTS = {
  open: "feed_open",
  connecting: "feed_connecting",
  waiting: "feed_waiting",
  closed: "feed_closed",
};

export class Shell {
  #account;
  #links = new Map(); // page name -> link
  #away = null; // the notice that the server does not answer
  #version = null;

  /** `pages`: those that the user may see; `signOut` ends the sign-in. */
  constructor(account, pages, signOut) {
    this.#account = account;
    const menu = byId("menu");
    menu.addEventListener("click", () =>
      this.#openMenu(menu.getAttribute("aria-expanded") !== "true"),
    );
    document.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && this.#openMenu(false),
    );
    this.#showNav(pages);
    this.#showAccount(signOut);
    this.#version = account.identity.version;
  }

  /** Mark a page as the present one, and close the menu. */
  mark(name) {
    for (const [each, link] of this.#links) {
      if (each === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.#openMenu(false);
  }

  /** Show the state of the live feed; null: this role has none. */
  showFeed(state, reason = "") {
    const feed = byId("feed");
    feed.dataset.state = state ?? "off";
    feed.title = reason;
    setText(feed, t(state === null ? "feed_off" : (FEED_TEXTS[state] ?? "feed_connecting")));
  }

  /** Tell that the server does not answer, or that it does again. */
  showAway(isAway) {
    if (isAway && !this.#away?.isConnected) {
      this.#away = toast(t("server_away"), { kind: "warning", stays: true });
    } else if (!isAway) {
      this.#away?.remove();
      this.#away = null;
    }
  }

  /** Tell once that the server's version has changed since the page was loaded. */
  showVersion(version) {
    if (version === this.#version) return;
    this.#version = version;
    const reload = h("button", { type: "button", onclick: () => location.reload() }, t("reload"));
    toast(t("server_changed", { version }), { stays: true, action: reload });
  }

  #openMenu(isOpen) {
    byId("menu").setAttribute("aria-expanded", String(isOpen));
    document.body.classList.toggle("menu-open", isOpen);
  }

  #showNav(pages) {
    const groups = Map.groupBy(
      pages.filter(({ group }) => group),
      (page) => page.group,
    );
    fill(
      byId("nav"),
      [...groups].map(([group, members]) => [
        h("h2", { id: `nav-${group}` }, t(`group_${group}`)),
        h(
          "ul",
          { "aria-labelledby": `nav-${group}` },
          members.map((page) => h("li", {}, this.#link(page))),
        ),
      ]),
      h("p", { className: "version" }, `wsserver ${this.#account.identity.version}`),
    );
  }

  #link(page) {
    const link = h(
      "a",
      { href: page.href ?? pathTo(...(page.name ? [page.name] : [])) },
      labelOf(page),
    );
    if (page.href) link.dataset.reload = "";
    this.#links.set(page.name, link);
    return link;
  }

  #showAccount(signOut) {
    const { identity } = this.#account;
    const name = identity.username ?? identity.user_id;
    const colours = select(
      "theme",
      ["auto", "light", "dark"].map((each) => [each, t(`theme_${each}`)]),
      theme(),
      chooseTheme,
    );
    const languages = select(
      "language",
      [
        ["en", "English"],
        ["zh-CN", "中文"],
      ],
      LANGUAGE,
      chooseLanguage,
    );
    const facts = [
      [t("your_role"), identity.role],
      [t("your_organization"), identity.organization_id],
      [t("until"), dateTime(identity.expires_at)],
    ].filter(([, value]) => value);
    const details = h(
      "details",
      { className: "account" },
      h(
        "summary",
        { "aria-label": t("signed_in_as", { user: name }) },
        h("span", { className: "who" }, name),
      ),
      h(
        "div",
        { className: "menu-panel" },
        h("p", {}, h("b", {}, name), h("br"), h("code", {}, identity.user_id)),
        h(
          "dl",
          { className: "facts" },
          facts.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
        ),
        colours,
        languages,
        h("button", { type: "button", className: "quiet", onclick: signOut }, t("sign_out")),
      ),
    );
    details.addEventListener("focusout", (event) => {
      if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
    });
    document.addEventListener("pointerdown", (event) => {
      if (!details.contains(event.target)) details.open = false;
    });
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      details.open = false;
      details.firstElementChild.focus();
    });
    fill(byId("account"), details);
  }
}

function select(name, options, chosen, onChange) {
  const field = h(
    "select",
    { id: `choose-${name}`, onchange: () => onChange(field.value) },
    options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)),
  );
  return h("div", { className: "field" }, h("label", { htmlFor: field.id }, t(name)), field);
}
