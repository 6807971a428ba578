/** The messages of a session: a long list of which only what is in view is in the page. */

import {
  defineComponent,
  h,
  nextTick,
  onBeforeUnmount,
  onMounted,
  onUpdated,
  ref,
  shallowRef,
  watch,
} from "vue";

import { dayOf, useTexts } from "../locale.js";
import { RowWindow } from "../row-window.js";
import { useSession } from "../session.js";
import { nameOf, textOf } from "./content.js";
import { Row } from "./row.js";

const AROUND = 600; // pixels beyond the edges that are in the page, too
const AT_END = 40; // pixels from the end that still count as being there
const TOGETHER_MS = 5 * 60_000; // messages of one sender that stand together
const SAID_MS = 1500; // between two announcements to screen readers
const SAID = 200; // characters of one
const ROW_SLOTS = ["message", "sender", "avatar", "content", "file", "meta", "failed", "actions", "day"];

export const WsMessageList = defineComponent({
  name: "WsMessageList",
  props: {
    /** What `useSession` gave, or the id of a session. */
    session: { type: Object, default: null },
    sessionId: { type: String, default: null },
    /** Mark as read what is in view. */
    markRead: { type: Boolean, default: true },
    /** What is offered for messages: `reply`, `edit`, `delete`; `moderate`: for those of others, too. */
    actions: { type: Array, default: () => ["reply", "edit", "delete"] },
  },
  setup(props, { slots, expose }) {
    const own = props.session ? null : useSession(() => props.sessionId);
    const session = () => props.session ?? own;
    const texts = useTexts();
    const { t, day } = texts;

    const rows = new RowWindow();
    const scroller = ref(null);
    const inner = ref(null); // as high as all rows
    const shownRows = ref(null); // as high as those in the page
    const range = shallowRef([0, 0]);
    const isAway = ref(false); // from the end
    const missed = ref(0); // messages below, while one reads above
    const said = ref("");
    const revealed = ref(null); // key of the row that was asked for
    let entries = [];
    let isAtEnd = true;
    let anchor = null; // {key, index, offset}: what stays where it is while the rest changes
    let begunWith = null; // the first unread message to which one was led
    let lastSeen = null; // key of the last entry when the end was in view
    let width = 0;
    let observer = null;
    let rowSlots = {};

    // Which rows

    function take(next) {
      entries = next;
      if (next.length === 0) stay();
      rows.setKeys(next.map(({ key }) => key));
      choose();
      count();
    }

    /** Stay at the end, whatever comes. */
    function stay() {
      isAtEnd = true;
      anchor = null;
    }

    /** The rows around what is in view. */
    function choose() {
      const height = scroller.value?.clientHeight ?? 800;
      let top = isAtEnd ? rows.height - height : (scroller.value?.scrollTop ?? 0);
      if (!isAtEnd && anchor) {
        const index = rows.indexOf(anchor.key, anchor.index);
        if (index < 0) anchor = null;
        else {
          anchor.index = index;
          top = rows.top(index) - anchor.offset;
        }
      }
      const [start, end] = rows.range(top - AROUND, top + height + AROUND);
      if (start !== range.value[0] || end !== range.value[1]) range.value = [start, end];
    }

    /** Measure what was just put into the page, and put everything where it belongs. */
    function settle() {
      const element = scroller.value;
      if (!element) return;
      const shown = [...shownRows.value.children].map((child) => [
        child.dataset.key,
        child.getBoundingClientRect().height,
      ]);
      const isChanged = rows.measure(shown);
      place();
      if (isChanged) choose();
    }

    function place() {
      const element = scroller.value;
      const { style } = inner.value;
      style.height = `${rows.height}px`;
      style.paddingBlockStart = `${rows.top(range.value[0]) ?? 0}px`;
      const end = element.scrollHeight - element.clientHeight;
      const top = isAtEnd
        ? end
        : anchor
          ? rows.top(anchor.index) - anchor.offset
          : element.scrollTop;
      if (Math.abs(element.scrollTop - top) > 0.5) element.scrollTop = top;
    }

    function scrolled() {
      const element = scroller.value;
      const { scrollTop, clientHeight, scrollHeight } = element;
      isAtEnd = scrollHeight - clientHeight - scrollTop < AT_END;
      const index = rows.at(scrollTop);
      anchor =
        isAtEnd || rows.count === 0
          ? null
          : { key: rows.key(index), index, offset: rows.top(index) - scrollTop };
      choose();
      count();
      if (scrollTop < clientHeight) older();
    }

    function older() {
      const { hasOlder, isLoading, loadOlder } = session();
      if (hasOlder.value && !isLoading.value) loadOlder().catch(() => {});
    }

    // What is new

    function count() {
      isAway.value = !isAtEnd;
      if (isAtEnd) {
        lastSeen = entries.at(-1)?.key ?? null;
        missed.value = 0;
      } else if (lastSeen !== null) {
        let index = entries.length - 1;
        let others = 0;
        for (; index >= 0 && entries[index].key !== lastSeen; index--)
          others += entries[index].isOwn ? 0 : 1;
        missed.value = index < 0 ? 0 : others;
      }
      seen();
    }

    /** What is in view has been read, if the page is. */
    function seen() {
      const isShown = scroller.value && globalThis.document?.visibilityState === "visible";
      if (!props.markRead || !isShown || begunWith !== session().firstUnread.value) return;
      if (isAtEnd || entries.length === 0) {
        session().markRead();
        return;
      }
      const { scrollTop, clientHeight } = scroller.value;
      const bottom = scrollTop + clientHeight;
      const index = rows.at(bottom);
      const last = entries[rows.top(index + 1) <= bottom + 1 ? index : index - 1];
      if (typeof last?.offset === "number") session().markRead(last.offset);
    }

    function toEnd() {
      stay();
      choose();
      count();
      nextTick(settle);
    }

    /** Scroll to a message, if it is here. */
    function reveal(messageId) {
      const index = entries.findIndex(({ id }) => id === messageId);
      if (index < 0) return;
      revealed.value = entries[index].key;
      goTo(index);
    }

    function goTo(index) {
      isAtEnd = false;
      const { key } = entries[index];
      anchor = { key, index, offset: (scroller.value?.clientHeight ?? 0) / 3 };
      choose();
      nextTick(settle);
    }

    /** Begin where one has stopped reading, if that is not in view. */
    async function begin(first) {
      await nextTick();
      await nextTick(); // measured
      const index = entries.indexOf(first);
      const height = scroller.value?.clientHeight ?? 0;
      if (index >= 0 && rows.height - rows.top(index) > height) goTo(index);
      await nextTick(); // and scrolled
      begunWith = first;
      count();
    }
    watch(() => session().firstUnread.value, begin);

    // For screen readers: what others say, not faster than it can be read.
    let sayTimer = 0;
    let unsaid = [];
    function announce(before, next) {
      const last = before.at(-1);
      const from = last ? next.lastIndexOf(last) + 1 : next.length;
      if (from === 0) {
        unsaid = []; // another session, or a new start
        return;
      }
      unsaid.push(...next.slice(from).filter(({ isOwn }) => !isOwn));
      if (unsaid.length === 0 || sayTimer !== 0) return;
      sayTimer = setTimeout(say, SAID_MS);
    }

    function say() {
      const ready = unsaid.filter(({ message }) => message.state !== "growing");
      unsaid = unsaid.filter(({ message }) => message.state === "growing"); // once they have ended
      sayTimer = unsaid.length > 0 ? setTimeout(say, SAID_MS) : 0;
      if (ready.length === 0) return;
      const [{ message }] = ready;
      const text = `${nameOf(message.sender)}: ${textOf(message).slice(0, SAID)}`;
      said.value = ready.length === 1 ? text : t("newMessages", { n: ready.length });
    }

    watch(
      () => session().messages.value,
      (next, before) => {
        if (
          next.length > 0 &&
          next.at(-1).isOwn &&
          next.at(-1).offset === null &&
          before?.at(-1) !== next.at(-1)
        ) {
          stay(); // one sees what one has just said
        }
        take(next);
        if (before) announce(before, next);
      },
      { immediate: true },
    );

    function resized() {
      const { clientWidth } = scroller.value;
      if (clientWidth !== width) {
        width = clientWidth;
        rows.forget();
      }
      choose();
      settle();
    }

    onMounted(() => {
      width = scroller.value.clientWidth;
      choose();
      nextTick(settle);
      observer = new ResizeObserver(resized);
      observer.observe(scroller.value);
      observer.observe(shownRows.value); // a row may change without the list
      globalThis.document.addEventListener("visibilitychange", count);
    });
    onUpdated(settle);
    onBeforeUnmount(() => {
      observer?.disconnect();
      clearTimeout(sayTimer);
      globalThis.document.removeEventListener("visibilitychange", count);
    });
    expose({ toEnd, reveal });

    /** A row, with what depends on the one before it. */
    function row(index) {
      const entry = entries[index];
      const before = entries[index - 1];
      const { sender, created_at: at } = entry.message;
      const isNewDay = !before || dayOf(before.message.created_at) !== dayOf(at);
      const isFirst =
        isNewDay ||
        before.message.sender?.user_id !== sender?.user_id ||
        Date.parse(at) - Date.parse(before.message.created_at) > TOGETHER_MS;
      const attributes = {
        key: entry.key,
        "data-key": entry.key,
        class: "ws-row",
        role: "listitem",
        "data-revealed": revealed.value === entry.key ? "" : null,
        "aria-setsize": session().hasOlder.value ? -1 : entries.length,
        "aria-posinset": index + 1,
      };
      const given = {
        entry,
        session: session(),
        day: isNewDay ? day(at) : null,
        isFirst,
        isNew: session().firstUnread.value === entry,
        actions: props.actions,
        slots: rowSlots,
        reveal,
        texts,
      };
      return h("div", attributes, [h(Row, given)]);
    }

    function jump() {
      const count = missed.value;
      const text = count > 0 ? t("newMessages", { n: count }) : t("toTheEnd");
      const attributes = {
        key: "jump",
        type: "button",
        class: "ws-jump",
        "data-count": count,
        onClick: toEnd,
      };
      return h("button", attributes, slots.jump?.({ count }) ?? [h("span", text), " ↓"]);
    }

    return () => {
      const { isLoading, isJoined, hasOlder, error } = session();
      const [start, end] = range.value;
      if (ROW_SLOTS.some((name) => rowSlots[name] !== slots[name])) {
        rowSlots = Object.fromEntries(ROW_SLOTS.map((name) => [name, slots[name]]));
      }
      const shown = [];
      const last = Math.min(end, entries.length);
      for (let index = start; index < last; index++) shown.push(row(index));
      const isEmpty = entries.length === 0 && isJoined.value && !isLoading.value;
      const note = (name, text) =>
        h("div", { key: name, class: "ws-note" }, slots[name]?.() ?? text);
      const list = {
        key: "list",
        ref: scroller,
        class: "ws-scroller",
        tabindex: 0,
        role: "list",
        "aria-label": t("messages"),
        onScrollPassive: scrolled,
      };
      const failed = { key: "error", class: "ws-note ws-error", role: "alert" };
      const attributes = { "aria-label": t("messages"), "aria-busy": isLoading.value };
      return h("section", { class: "ws ws-messages", ...attributes }, [
        error.value
          ? h("div", failed, slots.error?.({ error: error.value }) ?? error.value.message)
          : null,
        isLoading.value && hasOlder.value
          ? h("div", { key: "loading", class: "ws-loading" }, t("loading"))
          : null,
        h("div", list, [
          h("div", { ref: inner, class: "ws-rows" }, [h("div", { ref: shownRows }, shown)]),
        ]),
        isEmpty ? note("empty", t("noMessages")) : null,
        isAway.value ? jump() : null,
        h("div", { key: "said", class: "ws-hidden", role: "status" }, said.value),
      ]);
    };
  },
});
