/** Calls: buttons to begin one, and the window of a call that rings or goes on. */

import { computed, defineComponent, h, onBeforeUnmount, onMounted, ref, watch } from "vue";

import { CALL_TEXTS } from "../call-texts.js";
import { useCalls } from "../use-calls.js";
import { useTexts } from "../locale.js";
import { Avatar, nameOf } from "./content.js";

const SHOWN_MS = 6000; // how a call has ended
const ENDED = { page_closed: "callLost", connection_lost: "callLost", media_failed: "callUnreachable" };
const REFUSED = {
  call_busy: "callGoesOn",
  nobody_to_call: "callNobody",
  rate_limited: "callTooOften",
  forbidden: "callForbidden",
  NotAllowedError: "callNoMedia",
  NotFoundError: "callNoMedia",
  NotReadableError: "callNoMedia",
  OverconstrainedError: "callNoMedia",
  bad_call_state: "callElsewhere",
};

export const WsCall = defineComponent({
  name: "WsCall",
  props: {
    /** The session to call in; without it the component only rings. */
    sessionId: { type: String, default: null },
    /** What `useCalls` gave; default: its own. */
    calls: { type: Object, default: null },
    /** Offer calls with video, too. */
    video: { type: Boolean, default: true },
  },
  emits: {
    /** Somebody calls: the page may make a sound, or tell the user otherwise. */
    incoming: (call) => Boolean(call),
    ended: (call) => Boolean(call),
  },
  setup(props, { slots, emit }) {
    const calls = props.calls ?? useCalls();
    const { call, waiting, last, error, isAsking, follow, start, answer, forget } = calls;
    const { t } = useTexts(CALL_TEXTS);
    const now = ref(0);
    let ticker = 0;
    let fading = 0;

    onMounted(() => (ticker = setInterval(() => (now.value = Date.now()), 1000)));
    onBeforeUnmount(() => {
      clearInterval(ticker);
      clearTimeout(fading);
    });
    watch([last, error], ([ended, failure]) => {
      clearTimeout(fading);
      if (ended || failure) fading = setTimeout(forget, SHOWN_MS);
      if (ended) emit("ended", ended);
    });
    const rings = computed(() => {
      follow();
      return [call.value, ...waiting.value].filter((each) => each?.isIncoming && !each.isHere);
    });
    watch(rings, (present, before) => {
      for (const each of present) if (!before.includes(each)) emit("incoming", each);
    });

    const name = (each) => nameOf(each.peer ?? {}) || t("theOther");
    const withVideo = (each) => each.media.includes("video");

    function status(each) {
      if (each.state === "ringing") return t(each.isHere ? "calling" : incomingText(each), { name: name(each) });
      if (each.peer && !each.peer.connected) return t("peerAway", { name: name(each) });
      if (each.mediaState === "disconnected" || each.mediaState === "failed") return t("searching");
      return each.mediaState === "connected" ? "" : t("connectingMedia");
    }
    const incomingText = (each) => (withVideo(each) ? "incomingVideo" : "incomingAudio");

    function ending() {
      const { value: failure } = error;
      if (failure) return t(REFUSED[failure.code] ?? REFUSED[failure.name] ?? "callFailed");
      const each = last.value;
      if (each === null) return null;
      if (each.state === "answered") return t("callElsewhere");
      if (each.state === "missed")
        return each.isIncoming ? t("callMissed", { name: name(each) }) : t("callUnanswered");
      // Who has declined knows it.
      if (each.state === "declined")
        return each.isIncoming ? null : t(each.reason === "busy" ? "callBusy" : "callDeclined");
      return t(ENDED[each.reason] ?? "callEnded");
    }

    const button = (kind, icon, label, onClick, more = {}) =>
      h(
        "button",
        { type: "button", class: ["ws-call-button", kind], "aria-label": label, title: label, onClick, ...more },
        h(Icon, { name: icon, isOff: more["aria-pressed"] ?? false }),
      );

    function media(stream, attributes) {
      const show = (element) => {
        if (element && element.srcObject !== stream) element.srcObject = stream;
      };
      return h("video", { ...attributes, ref: show, autoplay: true, playsinline: true });
    }

    function stage(each) {
      const { localStream: local, remoteStream: remote } = each;
      const sees = remote?.getVideoTracks().some(({ muted }) => !muted) ?? false;
      const isSeen = (local?.getVideoTracks().length ?? 0) > 0 && !each.isMuted("video");
      const attributes = { class: "ws-call-stage", "data-picture": sees, "data-alone": !each.peer };
      return h("div", attributes, [
        remote
          ? media(remote, { key: "remote", class: "ws-call-remote", "aria-label": t("pictureOf", { name: name(each) }) })
          : null,
        sees || !each.peer ? null : h(Avatar, { key: "avatar", sender: each.peer }),
        each.peer || isSeen ? null : h("span", { class: "ws-avatar" }, h(Icon, { name: "phone" })),
        isSeen
          ? media(local, { key: "local", class: "ws-call-local", muted: true, "aria-label": t("myPicture") })
          : null,
      ]);
    }

    function controls(each) {
      if (each.isIncoming && !each.isHere) {
        const take = (video) => () => answer(each, { video });
        const disabled = isAsking.value;
        return [
          button("ws-call-end", "down", t("decline"), () => each.decline()),
          withVideo(each)
            ? button("", "phone", t("answerAudio"), take(false), { disabled })
            : null,
          button("ws-call-take", withVideo(each) ? "camera" : "phone", t("answer"), take(withVideo(each)), { disabled }),
        ];
      }
      const toggle = (kind, icon, label) =>
        each.localStream?.getTracks().some((track) => track.kind === kind)
          ? button("", icon, label, () => each.mute(kind, !each.isMuted(kind)), {
              "aria-pressed": each.isMuted(kind),
            })
          : null;
      const isRinging = each.state === "ringing";
      return [
        toggle("audio", "microphone", t("muteMicrophone")),
        toggle("video", "camera", t("stopCamera")),
        button("ws-call-end", "down", t(isRinging ? "cancelCall" : "hangUp"), () => each.hangUp()),
      ];
    }

    function timer(each) {
      if (each.answeredAt === null || !now.value) return null;
      const seconds = Math.max(0, Math.floor((now.value - each.answeredAt) / 1000));
      const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
      if (seconds >= 3600) parts.unshift(Math.floor(seconds / 3600));
      const text = parts.map((part, n) => (n ? String(part).padStart(2, "0") : part)).join(":");
      return h("span", { class: "ws-call-time", role: "timer", "aria-label": t("duration") }, text);
    }

    function panel(each) {
      const isIncoming = each.isIncoming && !each.isHere;
      const text = status(each);
      return h("section", { class: "ws-call-panel", "aria-label": t("calls"), "data-state": each.state, "data-incoming": isIncoming }, [
        each.isHere ? stage(each) : h(Avatar, { sender: each.peer ?? {} }),
        h("div", { class: "ws-call-about" }, [
          isIncoming || !each.peer ? null : h("strong", { dir: "auto" }, name(each)),
          h("span", { key: "text", class: "ws-call-status", role: isIncoming ? "alert" : "status" }, text),
          text || isIncoming ? null : timer(each),
        ]),
        h("div", { class: "ws-call-controls" }, slots.controls?.({ call: each }) ?? controls(each)),
        ...waiting.value.map(other),
      ]);
    }

    function other(each) {
      return h("div", { key: each.id, class: "ws-call-other" }, [
        h("span", { role: "alert", dir: "auto" }, t(incomingText(each), { name: name(each) })),
        button("ws-call-end", "down", t("decline"), () => each.decline("busy")),
        button("ws-call-take", "phone", t("answerInstead"), () =>
          answer(each, { video: withVideo(each) }),
        ),
      ]);
    }

    function starters() {
      if (props.sessionId === null) return null;
      const disabled = call.value !== null || isAsking.value;
      const begin = (video) => () => start(props.sessionId, { video });
      return h(
        "div",
        { class: "ws-call-start" },
        slots.default?.({ start: (video = false) => begin(video)(), disabled }) ?? [
          button("", "phone", t("audioCall"), begin(false), { disabled }),
          props.video ? button("", "camera", t("videoCall"), begin(true), { disabled }) : null,
        ],
      );
    }

    return () => {
      follow();
      const each = call.value;
      const text = each ? null : isAsking.value ? t("asking") : ending();
      return h("div", { class: "ws ws-call" }, [
        starters(),
        each ? panel(each) : null,
        h("div", { key: "end", class: "ws-call-note", role: "status" }, text ? [text] : []),
      ]);
    };
  },
});

const PATHS = {
  phone:
    "M6.6 10.8a15 15 0 0 0 6.6 6.6l2.2-2.2a1 1 0 0 1 1-.25 11.4 11.4 0 0 0 3.6.6 1 1 0 0 1 1 1V20a1 1 0 0 1-1 1A17 17 0 0 1 3 4a1 1 0 0 1 1-1h3.5a1 1 0 0 1 1 1 11.4 11.4 0 0 0 .6 3.6 1 1 0 0 1-.25 1z",
  down: "M12 9a16 16 0 0 0-4.6.7v3.1a1 1 0 0 1-.56.9 11.6 11.6 0 0 0-2.66 1.85.98.98 0 0 1-.7.28 1 1 0 0 1-.7-.3L.29 13.08A.96.96 0 0 1 0 12.37a1 1 0 0 1 .29-.71 16.9 16.9 0 0 1 23.42 0 1 1 0 0 1 .29.71.96.96 0 0 1-.29.7l-2.48 2.48a1 1 0 0 1-.7.29 1 1 0 0 1-.7-.28 11.3 11.3 0 0 0-2.67-1.85 1 1 0 0 1-.56-.9v-3.1A15.2 15.2 0 0 0 12 9z",
  camera: "M17 10.5V7a1 1 0 0 0-1-1H4a1 1 0 0 0-1 1v10a1 1 0 0 0 1 1h12a1 1 0 0 0 1-1v-3.5l4 4v-11z",
  microphone:
    "M12 14a3 3 0 0 0 3-3V5a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zm5-3a5 5 0 0 1-10 0H5a7 7 0 0 0 6 6.9V21h2v-3.1A7 7 0 0 0 19 11z",
};
const SLASH = "M2.6 4 4 2.6 21.4 20 20 21.4z";
const Icon = ({ name, isOff }) =>
  h("svg", { viewBox: "0 0 24 24", class: "ws-icon", "aria-hidden": "true" }, [
    h("path", { d: PATHS[name] }),
    isOff ? h("path", { d: SLASH, class: "ws-call-slash" }) : null,
  ]);
Icon.props = ["name", "isOff"];
