/**
 * The assistant: answers customers word by word, as a language model would, as long as it holds the
 * conversation. Put a call of your model in the place of `answerTo`.
 */

import { ASSISTANT } from "./shop.js";

const FIRST_WORD_MS = 600;
const WORD_MS = 45;
const HUMAN = /\b(human|person|agent|somebody)\b|人工|真人|客服/i;
const CHINESE = /\p{Script=Han}/u;
const TOPICS = [
  {
    about: /\b(return|refund|exchange)|退|换货/i,
    en: "You can return anything within 30 days, unused and in its box. Print the label from your order page and drop the parcel at any post office. The money is back within three days after we have received it.",
    zh: "收到商品后 30 天内，未使用且包装完好都可以退货。请在订单页打印退货面单，交给任意邮局即可。我们收到后三天内原路退款。",
  },
  {
    about: /\b(deliver|ship|arrive|parcel|tracking)|发货|物流|快递|多久到/i,
    en: "Orders before 4 pm leave our warehouse the same day and arrive in two to three days. As soon as your parcel is on its way, you will get a link to follow it.",
    zh: "下午四点前的订单当天发货，两到三天送达。包裹发出后，您会收到物流链接。",
  },
  {
    about: /\b(sofa|wide|size|fit|big|measure)|沙发|尺寸|多宽|多大/i,
    en: "The Lund sofa is 2.10 m wide, 0.92 m deep and 0.84 m high. The parts come in two boxes of at most 1.10 m, so it gets through any door and up any staircase.",
    zh: "Lund 沙发宽 2.10 米，深 0.92 米，高 0.84 米。分两箱包装，每箱最长 1.10 米，任何门和楼梯都能通过。",
  },
  {
    about: /\b(price|cost|much|discount|cheap)|价格|多少钱|优惠|便宜/i,
    en: "The Lund sofa costs 649 euros, delivery included. This week there are 10 % off for two or more pieces of furniture.",
    zh: "Lund 沙发 4999 元，包送货。本周购买两件及以上家具享九折。",
  },
];
const GREETING = {
  en: "Hello! I am the assistant of the shop. I know about sizes, prices, delivery and returns. If you would like to talk to one of my colleagues, just say “human”.",
  zh: "您好！我是店铺助手，可以回答尺寸、价格、物流和退换货问题。如需人工服务，请说“人工”。",
};
const HANDED_OVER = {
  en: "Of course. I have called a colleague, who will be with you in a moment.",
  zh: "好的，已为您呼叫人工客服，请稍候。",
};

export class Assistant {
  #api;
  #shop;
  #runs = new Map(); // session -> number of the latest question

  constructor(api, shop) {
    this.#api = api;
    this.#shop = shop;
  }

  /** A customer has written something. */
  async heard({ session_id: sessionId, message }) {
    if (typeof message?.content !== "string") return;
    if (sessionId !== `chat:${message.sender.user_id}`) return; // not a customer
    const { holder, term } = await this.#api.call("GET", `/sessions/${sessionId}`);
    if (holder?.type !== "ai") return;
    const run = (this.#runs.get(sessionId) ?? 0) + 1;
    this.#runs.set(sessionId, run);
    const text = answerTo(message.content);
    try {
      await this.#say(sessionId, text, { term }, run);
      if (HUMAN.test(message.content)) await this.#shop.wanted(sessionId, message.content);
    } catch (error) {
      // Somebody has taken over, or has stopped the answer: that is what these are for.
      if (!["term_changed", "answer_ended"].includes(error.code)) throw error;
    }
  }

  /** Say a text word by word; a new question makes an end of it. */
  async #say(sessionId, text, fields, run) {
    await pause(FIRST_WORD_MS);
    const sender = { user_id: ASSISTANT, username: "Assistant", role: "ai" };
    const path = `/sessions/${sessionId}/answers`;
    const { message_id: id } = await this.#api.call("POST", path, { ...fields, sender });
    let seq = 0;
    for (const word of wordsOf(text)) {
      if (this.#runs.get(sessionId) !== run) {
        await this.#api.call("POST", `/answers/${id}/cancel`, { reason: "another question" });
        return;
      }
      await this.#api.call("POST", `/answers/${id}/append`, { seq: ++seq, text: word });
      await pause(WORD_MS);
    }
    await this.#api.call("POST", `/answers/${id}/finish`, { state: "completed" });
  }
}

function answerTo(question) {
  const language = CHINESE.test(question) ? "zh" : "en";
  if (HUMAN.test(question)) return HANDED_OVER[language];
  return (TOPICS.find(({ about }) => about.test(question)) ?? GREETING)[language];
}

/** Words with what follows them; of Chinese, two characters each. */
function wordsOf(text) {
  return text.match(/\p{Script=Han}{1,2}|[^\s\p{Script=Han}]+\s*|\s+/gu) ?? [];
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
