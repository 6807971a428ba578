/** Where one writes a message. */

import { computed, defineComponent, h, nextTick, ref, watch } from "vue";

import { useTexts } from "../locale.js";
import { useSession } from "../session.js";
import { nameOf, textOf } from "./content.js";

const ENVELOPE_BYTES = 600; // of a command, around its content
const QUOTE = 200; // characters of the message that is answered or edited

export const WsComposer = defineComponent({
  name: "WsComposer",
  props: {
    /** What `useSession` gave, or the id of a session. */
    session: { type: Object, default: null },
    sessionId: { type: String, default: null },
    placeholder: { type: String, default: null },
    disabled: Boolean,
    /** The option of `useSession`, where only the id is given. */
    checkSeen: Boolean,
    /** Send with the Enter key; by default where there is a real keyboard. */
    enter: { type: Boolean, default: null },
  },
  emits: ["sent", "failed"],
  setup(props, { slots, emit, expose }) {
    const own = props.session ? null : useSession(() => props.sessionId, { checkSeen: () => props.checkSeen });
    const session = () => props.session ?? own;
    const { t } = useTexts();
    const text = ref("");
    const field = ref(null);
    const drafts = new Map(); // session id -> text
    let isEdit = false; // what is written replaces a message: it is no draft

    const surplus = computed(() => {
      const limit = session().client.connection?.max_message_bytes ?? Infinity;
      if (text.value.length * 3 + ENVELOPE_BYTES <= limit) return 0;
      const size = new TextEncoder().encode(JSON.stringify(text.value)).length;
      return Math.max(0, size + ENVELOPE_BYTES - limit);
    });
    const maySend = computed(
      () =>
        !props.disabled &&
        text.value.trim() !== "" &&
        surplus.value === 0 &&
        !session().error.value,
    );

    watch(
      () => session().sessionId.value,
      (next, before) => {
        if (before && !isEdit) drafts.set(before, text.value);
        text.value = drafts.get(next) ?? "";
        nextTick(fit);
      },
    );

    /** As high as what is written, within the limits of the style. */
    function fit() {
      const element = field.value;
      if (!element) return;
      element.style.height = "auto";
      element.style.height = `${element.scrollHeight}px`;
    }

    function wrote({ target }) {
      text.value = target.value;
      fit();
      if (text.value.trim() === "") session().stopTyping();
      else session().startTyping();
    }

    async function send() {
      if (!maySend.value) return;
      const { target } = session();
      const { kind, entry: about } = target.value ?? {};
      const content = text.value.trim();
      const sending =
        kind === "edit"
          ? session().edit(about, content)
          : session().send(content, { replyTo: about?.id });
      text.value = "";
      target.value = null;
      nextTick(fit);
      field.value?.focus();
      const entry = await sending;
      emit(entry.status === "failed" || entry.error ? "failed" : "sent", entry);
    }

    /** Write without reference to another message. */
    function cancel() {
      if (session().target.value?.kind === "edit") text.value = "";
      session().target.value = null;
      nextTick(fit);
      field.value?.focus();
    }

    watch(
      () => session().target.value,
      (target) => {
        isEdit = target?.kind === "edit";
        if (target === null) return;
        if (isEdit) text.value = textOf(target.entry.message);
        nextTick(() => {
          fit();
          field.value?.focus();
        });
      },
    );

    function about() {
      const { kind, entry } = session().target.value;
      const name = entry.isOwn ? t("you") : nameOf(entry.message.sender);
      const close = {
        type: "button",
        class: "ws-close",
        "aria-label": t("close"),
        onClick: cancel,
      };
      return h("div", { key: "about", class: "ws-about" }, [
        h("div", { class: "ws-body" }, [
          h("strong", kind === "edit" ? t("editing") : t("replyTo", { name })),
          h("div", { class: "ws-quoted", dir: "auto" }, textOf(entry.message).slice(0, QUOTE)),
        ]),
        h("button", close, "×"),
      ]);
    }

    function pressed(event) {
      if (event.key === "Escape" && session().target.value && !event.isComposing) return cancel();
      // While an input method is composing, Enter takes its suggestion.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229)
        return;
      const isKeyboard = !globalThis.matchMedia?.("(pointer: coarse)").matches;
      if (!(props.enter ?? isKeyboard)) return;
      event.preventDefault();
      send();
    }

    expose({ focus: () => field.value?.focus(), send });

    return () => {
      const label = t("message");
      const submit = (event) => {
        event.preventDefault();
        send();
      };
      const input = h("textarea", {
        key: "input",
        ref: field,
        class: "ws-input",
        rows: 1,
        dir: "auto",
        value: text.value,
        disabled: props.disabled,
        placeholder: props.placeholder ?? t("writeMessage"),
        "aria-label": label,
        "aria-invalid": surplus.value > 0,
        enterkeyhint: "send",
        onInput: wrote,
        onKeydown: pressed,
        onBlur: () => session().stopTyping(),
      });
      const button = {
        type: "submit",
        class: "ws-send",
        disabled: !maySend.value,
        "aria-label": t("send"),
      };
      return h("form", { class: "ws ws-composer", onSubmit: submit }, [
        slots.before?.({ text, send }),
        session().target.value ? about() : null,
        surplus.value > 0
          ? h(
              "div",
              { key: "surplus", class: "ws-note ws-error", role: "alert" },
              t("tooLong", { n: surplus.value }),
            )
          : null,
        h("div", { key: "line", class: "ws-line" }, [
          slots.start?.({ text, send }),
          input,
          h("button", button, slots.send?.() ?? h(SendIcon)),
        ]),
      ]);
    };
  },
});

const SendIcon = () =>
  h("svg", { viewBox: "0 0 24 24", class: "ws-icon", "aria-hidden": "true" }, [
    h("path", { d: "M3.4 20.4 21 12 3.4 3.6 3.4 10.2 15 12 3.4 13.8z" }),
  ]);
