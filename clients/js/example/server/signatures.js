/** What is signed with secrets: tokens for wsserver, webhooks from it. */

import { createHmac, timingSafeEqual } from "node:crypto";

const LATEST_S = 300; // a webhook that is older may be a copy

/** A JSON Web Token, HS256. */
export function signToken(claims, secret) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ iat: now, ...claims })}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Does `t=…,v1=…` sign this body? */
export function isSigned(text, header, secret) {
  const { t = "", v1 = "" } = Object.fromEntries(header.split(",").map((each) => each.split("=")));
  if (!secret || !(Math.abs(Date.now() / 1000 - Number(t)) < LATEST_S)) return false;
  const expected = createHmac("sha256", secret).update(`${t}.${text}`).digest();
  const given = Buffer.from(v1, "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
}
