/** The file of a message: its name and size, to be downloaded; pictures are shown. */

import { defineComponent, h, onMounted, ref, watch } from "vue";

import { FILE_TEXTS } from "../file-texts.js";
import { useWsClient } from "../client.js";
import { useTexts } from "../locale.js";

const PICTURE = /^image\/(png|jpeg|gif|webp|avif)$/;
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

export const WsAttachment = defineComponent({
  name: "WsAttachment",
  props: {
    /** A message with the content type `application/vnd.wsserver.file+json`. */
    message: { type: Object, required: true },
    /** Show pictures. */
    pictures: { type: Boolean, default: true },
  },
  setup(props) {
    const client = useWsClient();
    const { t, language } = useTexts(FILE_TEXTS);
    const source = ref(null);
    const isGone = ref(false);
    const file = () => props.message.content;

    async function address() {
      try {
        return await client.fileUrl(file().file_id);
      } catch {
        isGone.value = true;
        return null;
      }
    }

    async function show() {
      source.value = null;
      isGone.value = false;
      const { file_id: id, content_type: type } = file();
      if (!props.pictures || !PICTURE.test(type)) return;
      const url = await address();
      if (id === file().file_id) source.value = url;
    }
    onMounted(() => watch(() => file().file_id, show, { immediate: true }));

    async function download() {
      const url = await address();
      if (url !== null) location.assign(url); // the page stays: the server sends it as an attachment
    }

    function size(bytes) {
      const step = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
      const options = { style: "unit", unit: UNITS[step], maximumFractionDigits: step > 0 ? 1 : 0 };
      return new Intl.NumberFormat(language.value, options).format(bytes / 1000 ** step);
    }

    return () => {
      const { filename, file_id: id, bytes } = file();
      const name = [filename, id].find((each) => typeof each === "string") ?? ""; // no object: markup to Vue
      const attributes = {
        type: "button",
        class: "ws-file",
        title: t("download", { name }),
        onClick: download,
      };
      return h("div", { class: "ws-attachment" }, [
        h("button", attributes, [
          source.value
            ? h("img", { src: source.value, alt: "", loading: "lazy", onError: () => (source.value = null) })
            : null,
          h("span", { class: "ws-file-name" }, h("bdi", name)),
          " ",
          typeof bytes === "number" ? h("span", { class: "ws-file-size" }, size(bytes)) : null,
        ]),
        isGone.value ? h("span", { class: "ws-error", role: "alert" }, t("fileGone")) : null,
      ]);
    };
  },
});
