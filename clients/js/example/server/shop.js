/** Who there is in the example, and the conversations of the customers. */

import { signToken } from "./signatures.js";

const TOKEN_S = 600; // a page gets a new one before it expires
export const ORGANIZATION = "shop";
export const ASSISTANT = "assistant";

/** Everybody who can sign in. */
export const PEOPLE = [
  { id: "alice", name: "Alice", role: "customer" },
  { id: "chen", name: "陈静", role: "customer" },
  { id: "omar", name: "عمر", role: "customer" },
  { id: "wang", name: "王磊", role: "sales" },
  { id: "lee", name: "Lee", role: "sales" },
];
const SALES = PEOPLE.filter(({ role }) => role === "sales").map(({ id }) => id);

export class Shop {
  #secret;
  #api;
  #opened = new Map(); // customer -> promise: the conversation is there

  constructor({ secret, api }) {
    this.#secret = secret;
    this.#api = api;
  }

  /** A token for one of the people; the conversation of a customer begins with it. */
  async tokenOf(id) {
    const person = PEOPLE.find((each) => each.id === id);
    if (person === undefined) throw Object.assign(new Error("who is that?"), { status: 404 });
    if (person.role === "customer") await this.#open(person);
    const claims = {
      sub: id,
      username: person.name,
      organization_id: ORGANIZATION,
      role: person.role === "sales" ? "manager" : "user",
      exp: Math.floor(Date.now() / 1000) + TOKEN_S,
    };
    return signToken(claims, this.#secret);
  }

  /** The conversation of a customer: with all sales people, held by the assistant at first. */
  #open({ id, name }) {
    if (!this.#opened.has(id)) {
      const path = `/sessions/chat:${id}`;
      const open = async () => {
        await this.#api.call("PUT", `${path}/members`, { user_ids: [id, ...SALES] });
        const fields = { title: name, organization_id: ORGANIZATION };
        const { term } = await this.#api.call("PATCH", path, fields);
        if (term > 0) return; // from an earlier run
        const holder = { type: "ai", id: ASSISTANT };
        await this.#api.call("POST", `${path}/holder`, { holder, expected_term: 0 });
      };
      const opened = open();
      opened.catch(() => this.#opened.delete(id));
      this.#opened.set(id, opened);
    }
    return this.#opened.get(id);
  }

  /** Somebody holds a conversation now: no person waits for one any more. */
  async held({ session_id: sessionId, holder }) {
    if (holder?.type !== "user") return;
    await this.#api.call("PATCH", `/sessions/${sessionId}`, { state: "open" });
  }

  /** A customer wants a person: tell the sales people. */
  async wanted(sessionId, text) {
    await this.#api.call("PATCH", `/sessions/${sessionId}`, { state: "pending" });
    await this.#api.call("POST", "/notify", {
      user_ids: SALES,
      title: "A customer is waiting · 客户等待人工",
      message: text,
      type: "warning",
      auto_close: true,
      channels: ["websocket"],
      action_url: `/#${sessionId}`,
    });
  }
}
