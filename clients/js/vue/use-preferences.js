/** What a user has chosen about notifications, as reactive state; each change is saved at once. */

import { computed, ref, shallowRef } from "vue";

import { on, useWsClient } from "./client.js";

/** For templates without a choice of their own. */
const OTHERS = "*";

/**
 * The preferences of the user of a client: loaded when it is connected. A change is shown at once; one
 * that the server refuses is taken back, and `error` says why.
 */
export function useNotificationPreferences({ client = useWsClient() } = {}) {
  const preferences = shallowRef(null);
  const error = shallowRef(null);
  const saving = ref(0);
  let stored = null; // as the server has them
  let last = Promise.resolve(); // changes are sent in their order

  on(client, "ws:open", ({ user_id: present }) => {
    if (stored?.user_id !== present) stored = preferences.value = null; // another user's
    change({});
  });
  if (client.state === "open") change({});

  /** Save changes, as the command `preferences` takes them; resolves to whether they are saved. */
  function change(changes) {
    if (preferences.value !== null) preferences.value = changed(preferences.value, changes);
    saving.value += 1;
    const saved = last.then(() => save(changes));
    last = saved;
    return saved;
  }

  async function save(changes) {
    try {
      stored = await client.preferences(changes);
      error.value = null;
      return true;
    } catch (failure) {
      // Without a connection, `ws:open` reads them.
      const isReading = Object.keys(changes).length === 0;
      if (!isReading || failure.code !== "disconnected") error.value = failure;
      return false;
    } finally {
      saving.value -= 1;
      if (saving.value === 0) preferences.value = stored; // none that follows is shown already
    }
  }

  /** The choice for a template: on, off, or null: as for the others. */
  const choice = (template, channel) => preferences.value?.channels[template]?.[channel] ?? null;

  const isOn = (template, channel) => choice(template, channel) ?? choice(OTHERS, channel) ?? true;

  /** Switch a channel for a template, or for all others (`*`). What is as for the others follows them. */
  function setChannel(template, channel, value) {
    const other = template === OTHERS ? true : isOn(OTHERS, channel);
    return change({ channels: { [template]: { [channel]: value === other ? null : value } } });
  }

  return {
    ...{ preferences, error, choice, isOn, setChannel, change },
    templates: computed(() => preferences.value?.templates ?? []),
    isSaving: computed(() => saving.value > 0),
    /** Hours without e-mail, SMS and push; null: those of the contacts, if there are any. */
    setQuietHours: (hours) => change({ quiet_hours: hours }),
    /** What comes by these channels waits for a time of the day; null: it does not. */
    setDailyDigest: (digest) => change({ daily_digest: digest }),
  };
}

/** Preferences after changes, as the server will have them. */
function changed(before, { channels = {}, ...rest }) {
  const after = { ...before, ...rest, channels: { ...before.channels } };
  for (const [template, switches] of Object.entries(channels)) {
    const merged = { ...after.channels[template], ...switches };
    const kept = Object.entries(merged).filter(([, value]) => value !== null);
    after.channels[template] = Object.fromEntries(kept);
  }
  return after;
}
