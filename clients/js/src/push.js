/** Web Push: notifications for a browser that is not connected. */

const PATH = "/api/v1/websocket/push-key";

/** The key that push services know the server by, as bytes; null: the server has no Web Push. */
export async function pushKey(url) {
  const answer = await fetch(url.replace(/^ws/, "http").replace(/\/$/, "") + PATH);
  if (!answer.ok) throw new Error(`no push key: ${answer.status}`);
  const { public_key: key } = await answer.json();
  return key === null ? null : bytesOf(key);
}

/**
 * The subscription of this browser, made if need be, as `toJSON()` gives it; null without Web Push.
 *
 * One that was made with another key is given up: nothing could be sent to it any more.
 */
export async function subscribeToPush(url, { pushManager }) {
  const key = await pushKey(url);
  if (key === null) return null;
  const old = await pushManager.getSubscription();
  if (old !== null) {
    if (isEqual(old.options.applicationServerKey, key)) return old.toJSON();
    await old.unsubscribe();
  }
  const options = { userVisibleOnly: true, applicationServerKey: key };
  return (await pushManager.subscribe(options)).toJSON();
}

function bytesOf(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function isEqual(buffer, bytes) {
  const others = new Uint8Array(buffer ?? 0);
  return others.length === bytes.length && others.every((byte, index) => byte === bytes[index]);
}
