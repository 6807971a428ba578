/** Texts of the live page. */

import { texts } from "../parts/i18n.js";

export const TEXTS = {
  live: ["Live", "实时事件"],
  filter: ["Filter: words that a row has", "筛选：行中包含的词"],
  pause: ["Pause", "暂停"],
  resume: ["Resume", "继续"],
  clear: ["Clear", "清空"],
  newest: ["Newest ({n})", "最新（{n}）"],
  every: ["all", "全部"],
  per_second: ["{n}/s", "{n}/秒"],
  counted: ["{shown} of {kept} rows, {rate} a second", "{kept} 行中的 {shown} 行，每秒 {rate}"],
  paused: ["paused", "已暂停"],
  waiting: ["Nothing has happened yet.", "还没有任何事件。"],
  nothing: ["No row has these words.", "没有匹配的行。"],
  not_live: ["The live feed is not connected: {reason}", "实时连接未建立：{reason}"],
  time: ["Time", "时间"],
  event: ["Event", "事件"],
  user: ["User", "用户"],
  session: ["Session", "会话"],
  details: ["Details", "详情"],
  trace: ["Trace", "追踪"],
  rows: ["Events, newest first", "事件，最新在前"],
  types: ["Types", "类型"],
};

export const t = texts(TEXTS);
