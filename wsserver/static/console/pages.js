/** The table of pages: address, title, and who may see them. */

import { LANGUAGE } from "./parts/i18n.js";
import { t } from "./parts/texts.js";

/**
 * `name`: the first segment of the address below `/console`; `permission`: null for every role;
 * `group`: where it is in the navigation; those without one are reached by links;
 * `idForm`: what its ids are, where they are not as others;
 * `extension`: only of servers with this extension; `isUnconfined`: not for roles that are confined to an organization; `href`: a page of its own.
 */
export const PAGES = [
  {
    name: "",
    title: "page_overview",
    group: "now",
    permission: "stats:read",
    load: () => import("./pages/overview.js"),
  },
  {
    name: "connections",
    title: "page_connections",
    group: "now",
    permission: "connections:read",
    load: () => import("./pages/connections.js"),
  },
  {
    name: "users",
    title: "page_users",
    group: "now",
    permission: "connections:read",
    load: () => import("./pages/users.js"),
  },
  {
    name: "sessions",
    title: "page_sessions",
    group: "now",
    permission: "connections:read",
    load: () => import("./pages/sessions.js"),
  },
  {
    name: "live",
    title: "page_live",
    group: "now",
    permission: "monitor",
    isUnconfined: true,
    load: () => import("./pages/live.js"),
  },
  {
    name: "publish",
    title: "page_publish",
    group: "send",
    permission: "messages:publish",
    load: () => import("./pages/publish.js"),
  },
  {
    name: "notify",
    title: "page_notify",
    group: "send",
    permission: "notifications:send",
    load: () => import("./pages/notify.js"),
  },
  {
    name: "trace",
    title: "page_trace",
    group: "send",
    permission: "messages:read",
    load: () => import("./pages/trace.js"),
  },
  {
    name: "search",
    title: "page_search",
    group: "send",
    permission: "messages:read",
    load: () => import("./pages/search.js"),
  },
  {
    name: "answers",
    title: "page_answer",
    permission: "messages:read",
    load: () => import("./pages/answers.js"),
  },
  {
    name: "notifications",
    title: "page_notifications",
    group: "send",
    permission: "notifications:read",
    load: () => import("./pages/notifications.js"),
  },
  { name: "chat", title: "page_chat", group: "send", permission: null, href: "/console/chat" },
  {
    name: "tasks",
    title: "page_tasks",
    group: "work",
    permission: "tasks:manage",
    extension: "tasks",
    load: () => import("./pages/tasks.js"),
  },
  {
    name: "quotas",
    title: "page_quotas",
    idForm: "bad_scope_form",
    group: "work",
    permission: "stats:read",
    extension: "quotas",
    load: () => import("./pages/quotas.js"),
  },
  {
    name: "doctor",
    title: "page_doctor",
    group: "server",
    permission: "stats:read",
    load: () => import("./pages/doctor.js"),
  },
  {
    name: "webhooks",
    title: "page_webhooks",
    group: "server",
    permission: "monitor",
    isUnconfined: true,
    load: () => import("./pages/webhooks.js"),
  },
  {
    name: "audit",
    title: "page_audit",
    group: "server",
    permission: "audit:read",
    isUnconfined: true,
    load: () => import("./pages/audit.js"),
  },
  { name: "api", title: "page_api", group: "server", permission: null, href: "/api/v1/docs" },
];

/** All pages of a server, with those that its extensions add. */
export function allPages(account) {
  const added = account.pages
    .filter(({ name }) => !PAGES.some((each) => each.name === name))
    .map(({ name, title: [english, chinese], permission, is_unconfined, module }) => ({
      name,
      label: LANGUAGE === "en" ? english : chinese,
      group: "work",
      permission,
      isUnconfined: is_unconfined,
      load: () => import(module),
    }));
  return [...PAGES, ...added];
}

/** The name of a page for people. */
export const labelOf = ({ label, title }) => label ?? t(title);
