/** The operators' console: signs in, then shows the page of each address. */

import { Account } from "./parts/account.js";
import { onSignedOut } from "./parts/api.js";
import { byId, fill, h } from "./parts/dom.js";
import { Feed } from "./parts/feed.js";
import { translate } from "./parts/i18n.js";
import { applyTheme } from "./parts/preferences.js";
import { Router, pathTo } from "./parts/router.js";
import { Shell } from "./parts/shell.js";
import { askToSignIn, useTicket } from "./parts/sign_in.js";
import { t } from "./parts/texts.js";
import { allPages, labelOf } from "./pages.js";

applyTheme();
translate(document, t);
const account = new Account();
const feed = new Feed();
let shown = null; // AbortController of the page that is shown
let pages = []; // those of the server and its extensions
let shell = null;
let router = null;
let renewal = null; // the sign-in that requests wait for

// A ticket that is opened where the console is open already changes nothing but the fragment.
addEventListener("hashchange", () => location.hash.includes("ticket=") && location.reload());
start();

async function start() {
  const problem = await useTicket(account);
  while (!account.identity) {
    try {
      if (await account.load()) break;
      await askToSignIn(account, problem);
    } catch (error) {
      await untilRetried(error);
    }
  }
  onSignedOut(signInAgain);
  pages = allPages(account);
  shell = new Shell(account, pages.filter(isShown), signOut);
  router = new Router(showPage);
  if (account.may("monitor") && !account.isConfined) {
    feed.addEventListener("state", () => onFeedState());
    feed.start();
  } else {
    shell.showFeed(null);
  }
  router.start();
}

function onFeedState() {
  shell.showFeed(feed.state, feed.reason);
  if (feed.state !== "open") return;
  shell.showAway(false);
  account.refresh().then(
    () => shell.showVersion(account.identity.version),
    () => {},
  );
}

/** Ask for another sign-in, once for all requests that wait for it. */
function signInAgain(error) {
  renewal ??= renew(error).finally(() => (renewal = null));
  return renewal;
}

async function renew(error) {
  const before = account.identity;
  await askToSignIn(account, t("signed_out", { reason: error.message }));
  const now = account.identity;
  if (now.user_id !== before.user_id || String(now.permissions) !== String(before.permissions)) {
    location.reload(); // another user: nothing of the former one may stay on the page
    await new Promise(() => {});
  }
  if (feed.state === "closed") feed.start();
}

async function signOut() {
  try {
    await account.signOut();
  } finally {
    location.assign("/console");
  }
}

function showPage(name, id, query) {
  shown?.abort();
  shown = new AbortController();
  feed.want();
  const page = pages.find((each) => each.name === name && !each.href);
  const root = byId("page");
  shell.mark(page?.name ?? null);
  if (page && account.lacksOrganization && account.may(page.permission))
    return showLack(root);
  if (!page || !isShown(page))
    return fill(root, h("h1", {}, t(page ? "not_permitted" : "not_found")));
  document.title = `${labelOf(page)} – wsserver`;
  mount(page, id, query, root, shown.signal);
}

/** Whether the server has a page, and the user may see it. */
function isShown(page) {
  const isThere = !page.extension || account.extensions.includes(page.extension);
  const isLacking = page.permission !== null && account.lacksOrganization;
  const isConfined = page.isUnconfined && account.isConfined;
  return isThere && account.may(page.permission) && !isConfined && !isLacking;
}

/** Say what a token without an organization lacks, and what to do. */
function showLack(root) {
  const { role, user_id: userId } = account.identity;
  const command = `wsctl token create --user ${userId} --role ${role} --organization ORG`;
  document.title = `${t("no_organization")} – wsserver`;
  fill(
    root,
    h("h1", {}, t("no_organization")),
    h(
      "section",
      { className: "panel lacking" },
      h("p", {}, t("no_organization_why", { user: userId, role })),
      h("p", {}, t("no_organization_token")),
      h("p", {}, h("code", {}, command)),
      h("p", {}, t("no_organization_set")),
      h("p", {}, h("code", {}, `wsctl contacts ${userId} --organization ORG`)),
      h(
        "div",
        { className: "row" },
        h("button", { type: "button", onclick: signOut }, t("sign_in_otherwise")),
        h("button", { type: "button", className: "quiet", onclick: () => location.reload() }, t("retry")),
      ),
    ),
  );
}

async function mount(page, id, query, root, signal) {
  const isFirst = !root.querySelector("h1");
  fill(root, h("h1", {}, labelOf(page)), h("p", { className: "hint loading" }, t("loading")));
  const has = (name) => pages.some((each) => each.name === name && isShown(each));
  const context = { root, id, query, signal, account, feed, router, shell, has };
  try {
    const { show } = await page.load();
    if (signal.aborted) return;
    root.replaceChildren();
    await show(context);
  } catch (error) {
    if (signal.aborted) return;
    if (id !== null && [400, 404].includes(error.status)) return showNone(page, id, error, root);
    const retry = () => router.go(location.pathname + location.search);
    fill(
      root,
      h("h1", {}, labelOf(page)),
      h("p", { className: "problem", role: "alert" }, t("failed", { reason: error.message })),
      h("button", { type: "button", onclick: retry }, t("retry")),
    );
  }
  if (!signal.aborted && !isFirst) root.focus({ preventScroll: true });
  if (!isFirst) scrollTo(0, 0);
}

/** Say that there is nothing with this id, or that it is no id at all. */
function showNone(page, id, { status }, root) {
  const isBad = status === 400;
  fill(
    root,
    h("h1", {}, t(isBad ? "bad_id" : "not_there", { id })),
    h("p", { role: "alert" }, t(isBad ? (page.idForm ?? "bad_id_form") : "not_there_why")),
    h("p", {}, h("a", { href: pathTo(page.name) }, t("back_to", { page: labelOf(page) }))),
  );
}

function untilRetried(error) {
  const { promise, resolve } = Promise.withResolvers();
  fill(
    byId("page"),
    h("p", { className: "problem", role: "alert" }, t("failed", { reason: error.message })),
    h("button", { type: "button", onclick: resolve }, t("retry")),
  );
  return promise;
}
