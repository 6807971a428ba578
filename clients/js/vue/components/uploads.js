/** Uploads of a composer: files that are chosen, dropped on it or pasted into it. */

import { defineComponent, h, onBeforeUnmount, onMounted, ref, shallowReactive, shallowRef } from "vue";

import { FILE_TEXTS } from "../file-texts.js";
import { useTexts } from "../locale.js";

const REFUSED = {
  file_too_large: "uploadTooLarge",
  file_quota_exhausted: "uploadNoRoom",
  storage_full: "uploadNoRoom",
  file_upload_limit: "uploadTooMany",
  validation_failed: "uploadName",
};
const STATES = { waiting: "uploadWaiting", paused: "uploadPaused" };

export const WsUploads = defineComponent({
  name: "WsUploads",
  props: {
    /** What `useSession` gave. */
    session: { type: Object, required: true },
    /** Types that can be chosen, as the attribute `accept` has them. */
    accept: { type: String, default: null },
  },
  emits: {
    /** A file is there, and its message sent. */
    uploaded: (fileId) => typeof fileId === "string",
    failed: (error) => Boolean(error),
  },
  setup(props, { emit, expose }) {
    const { t } = useTexts(FILE_TEXTS);
    const root = ref(null);
    const input = ref(null);
    const entries = shallowRef([]);
    let composer = null;
    let count = 0;

    /** Upload files and say them in the session. */
    function add(files) {
      for (const file of files) begin(file);
    }

    async function begin(file) {
      const entry = shallowReactive({ key: (count += 1), file, sent: 0, state: "uploading" });
      entries.value = [...entries.value, entry];
      const { client, sessionId } = props.session;
      try {
        const upload = await client.sendFile(sessionId.value, file);
        entry.upload = upload;
        upload.addEventListener("progress", ({ detail }) => (entry.sent = detail.sent));
        upload.addEventListener("state", ({ detail }) => (entry.state = detail.state));
        if (!entries.value.includes(entry)) upload.cancel();
        emit("uploaded", await upload.done);
        remove(entry);
      } catch (error) {
        if (error.code === "cancelled") return;
        Object.assign(entry, { error, state: "failed" });
        emit("failed", error);
      }
    }

    function remove(entry) {
      entries.value = entries.value.filter((each) => each !== entry);
    }

    function cancel(entry) {
      remove(entry);
      entry.upload?.cancel();
    }

    function retry(entry) {
      remove(entry);
      begin(entry.file);
    }

    // The composer around it

    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (isOver) => composer.classList.toggle("ws-drop", isOver);
    const listeners = {
      paste(event) {
        if (!event.clipboardData?.files.length) return;
        event.preventDefault();
        add(event.clipboardData.files);
      },
      dragover(event) {
        if (!hasFiles(event)) return;
        event.preventDefault();
        mark(true);
      },
      dragleave: () => mark(false),
      drop(event) {
        mark(false);
        if (!hasFiles(event)) return;
        event.preventDefault();
        add(event.dataTransfer.files);
      },
    };
    onMounted(() => {
      composer = root.value.closest(".ws-composer") ?? root.value;
      for (const [name, listen] of Object.entries(listeners)) composer.addEventListener(name, listen);
    });
    onBeforeUnmount(() => {
      for (const [name, listen] of Object.entries(listeners)) composer.removeEventListener(name, listen);
    });

    function chosen({ target }) {
      add(target.files);
      target.value = ""; // the same file may be chosen again
    }

    const button = (text, onClick, more = {}) =>
      h("button", { type: "button", class: "ws-link", onClick, ...more }, text);

    function buttons(entry) {
      const { state, upload } = entry;
      if (state === "failed") return button(t("retryUpload"), () => retry(entry));
      if (state === "paused") return button(t("resume"), () => upload.resume());
      return button(t("pause"), () => upload.pause(), { disabled: !upload });
    }

    function row(entry) {
      const { key, file, sent, state, error } = entry;
      const { name } = file;
      const note = state === "failed" ? (REFUSED[error.code] ?? "uploadFailed") : STATES[state];
      const failed = state === "failed";
      return h("li", { key, class: "ws-upload", "data-state": state }, [
        h("bdi", { class: "ws-file-name" }, name),
        failed
          ? null
          : h("progress", { max: file.size || 1, value: sent, "aria-label": t("progressOf", { name }) }),
        note
          ? h("span", { class: failed && "ws-error", role: failed ? "alert" : null, title: error?.message }, t(note))
          : null,
        buttons(entry),
        h(
          "button",
          { type: "button", class: "ws-close", "aria-label": t("cancelUpload", { name }), onClick: () => cancel(entry) },
          "×",
        ),
      ]);
    }

    expose({ add });

    return () =>
      h("div", { ref: root, class: "ws-uploads" }, [
        h("input", { ref: input, type: "file", multiple: true, hidden: true, accept: props.accept, onChange: chosen }),
        h("button", { type: "button", class: "ws-attach", onClick: () => input.value.click() }, [
          h("span", { "aria-hidden": "true" }, "+ "),
          t("attach"),
        ]),
        entries.value.length
          ? h("ul", { "aria-label": t("uploads") }, entries.value.map(row))
          : null,
      ]);
  },
});
