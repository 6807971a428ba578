/** Who answers in a session: an AI, a person or nobody; to take it over and to give it back. */

import { useWsClient } from "../client.js";
import { conversationsOf } from "../conversations.js";
import { useTexts } from "../locale.js";
import { later } from "./later.js";

export const WsHolder = later(async () => {
  const { holderOf } = await import("./holder-line.js");
  return holderOf(useWsClient, conversationsOf, useTexts);
});
