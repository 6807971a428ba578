/** Calls of a client as reactive state; those of one client are shared by its components. */

import { computed, onMounted, onScopeDispose, ref, shallowRef } from "vue";

import { RtcCalls } from "../src/rtc.js";
import { useWsClient } from "./client.js";

const stores = new WeakMap(); // client -> CallStore

class CallStore {
  #client;
  #options;
  #users = 0;
  #rtc = null;
  #version = ref(0);
  /** The call that ended last, until `forget`. */
  last = shallowRef(null);
  /** Why no call came about. */
  error = shallowRef(null);
  /** Is the browser asked for camera and microphone? */
  isAsking = ref(false);

  constructor(client, options) {
    this.#client = client;
    this.#options = options;
  }

  /** A component uses it; the first one makes this page ring. */
  use() {
    if (this.#users++ > 0) return;
    this.#rtc = new RtcCalls(this.#client, this.#options);
    this.#rtc.addEventListener("incoming", ({ detail: { call } }) => this.#watch(call));
    this.#rtc.addEventListener("ended", ({ detail: { call } }) => {
      this.last.value = call;
      this.#version.value++;
    });
  }

  /** The last one to release it hangs up. */
  release() {
    if (--this.#users > 0) return;
    this.#rtc.close();
    this.#rtc = null;
    this.forget();
  }

  get calls() {
    void this.#version.value;
    return this.#rtc?.calls ?? [];
  }

  /** For what is computed of the state of a call. */
  follow() {
    return this.#version.value;
  }

  start(sessionId, media) {
    return this.#try(async () => this.#watch(await this.#rtc.start(sessionId, media)));
  }

  answer(call, media) {
    return this.#try(async () => {
      for (const each of this.calls) if (each !== call && each.isHere) each.hangUp();
      await call.answer(media);
      return call;
    });
  }

  forget() {
    this.last.value = null;
    this.error.value = null;
  }

  async #try(action) {
    const rtc = this.#rtc;
    this.forget();
    this.isAsking.value = true;
    try {
      return await action();
    } catch (error) {
      if (rtc === this.#rtc) this.error.value = error; // else nobody waits for it any more
      return null;
    } finally {
      this.isAsking.value = false;
      this.#version.value++;
    }
  }

  #watch(call) {
    call.addEventListener("change", () => this.#version.value++);
    this.#version.value++;
    return call;
  }
}

/**
 * The calls of a client. As long as a component uses it, the page rings; when the last one is gone, it
 * hangs up. Options are those of `RtcCalls`; the first component that uses it sets them.
 */
export function useCalls({ client = useWsClient(), ...options } = {}) {
  let store = stores.get(client);
  if (store === undefined) stores.set(client, (store = new CallStore(client, options)));
  let isUsed = false;
  onMounted(() => {
    isUsed = true;
    store.use();
  });
  onScopeDispose(() => isUsed && store.release());
  const all = computed(() => [...store.calls]);
  /** The call of this page, else one that rings here. */
  const call = computed(() => all.value.find(({ isHere }) => isHere) ?? all.value[0] ?? null);
  return {
    call,
    waiting: computed(() => all.value.filter((each) => each !== call.value)),
    last: store.last,
    error: store.error,
    isAsking: store.isAsking,
    follow: () => store.follow(),
    start: (sessionId, media) => store.start(sessionId, media),
    answer: (which, media) => store.answer(which, media),
    forget: () => store.forget(),
  };
}
