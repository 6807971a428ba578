/** The list of the notification centre, with what the component needs of other modules. */

import { defineComponent, h, onMounted, ref } from "vue";

export const PANEL_TEXTS = {
  noNotifications: ["No notifications", "暂无通知"],
  markRead: ["Mark as read", "标为已读"],
  archive: ["Archive", "归档"],
  markAllRead: ["Mark all as read", "全部标为已读"],
  preferences: ["Preferences", "偏好设置"],
};

/** The component, made of a function of another module. */
export const panelOf = (useTexts) =>
  defineComponent({
    name: "WsNotificationPanel",
    // `feed`: what `useNotifications` gave; `body`, `cross`: render an entry, and a button to close.
    props: ["feed", "body", "cross"],
    emits: ["close"],
    setup({ feed, body, cross }, { slots, emit }) {
      const { t } = useTexts();
      const { t: own } = useTexts(PANEL_TEXTS);
      const root = ref(null);
      const isChoosing = ref(false); // the preferences are shown in place of the list
      onMounted(() => root.value.focus());

      function archive(entry) {
        feed.archive(entry);
        root.value?.focus(); // the button is gone
      }

      function item(entry) {
        const attributes = {
          key: entry.id,
          class: "ws-item",
          "data-type": entry.type,
          "data-read": entry.isRead,
        };
        const dot = h("button", {
          type: "button",
          class: "ws-unread",
          "aria-label": own("markRead"),
          title: own("markRead"),
          onClick: () => feed.markRead(entry),
        });
        return h(
          "li",
          attributes,
          slots.item?.({ entry }) ?? [
            body(entry),
            entry.isRead ? null : dot,
            cross(() => archive(entry), own("archive")),
          ],
        );
      }

      return () => {
        const all = feed.notifications.value;
        const attributes = {
          ref: root,
          class: "ws-panel",
          role: "dialog",
          tabindex: -1,
          "aria-label": t("notifications"),
        };
        const markAll = {
          type: "button",
          class: "ws-link",
          "aria-disabled": feed.unread.value === 0,
          onClick: () => feed.markRead(),
        };
        const choose = {
          type: "button",
          class: "ws-link",
          "aria-pressed": isChoosing.value,
          onClick: () => (isChoosing.value = !isChoosing.value),
        };
        const more = { type: "button", class: "ws-link ws-more", onClick: feed.loadMore };
        return h("div", attributes, [
          h("div", { class: "ws-head" }, [
            h("strong", t("notifications")),
            isChoosing.value ? null : h("button", markAll, own("markAllRead")),
            slots.preferences ? h("button", choose, own("preferences")) : null,
            cross(() => emit("close")),
          ]),
          ...(isChoosing.value
            ? [h("div", { class: "ws-choices" }, slots.preferences())]
            : [
                all.length > 0
                  ? h("ul", { class: "ws-items" }, all.map(item))
                  : h("div", { class: "ws-note" }, slots.empty?.() ?? own("noNotifications")),
                feed.hasMore.value ? h("button", more, t("more")) : null,
              ]),
        ]);
      };
    },
  });
