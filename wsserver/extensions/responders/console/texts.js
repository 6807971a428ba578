/** Texts of AI responders. */

import { texts } from "/static/console/parts/i18n.js";

export const TEXTS = {
  responders: ["AI responders", "AI 应答器"],
  responder: ["Responder", "应答器"],
  hint: [
    "AI services that answer the sessions they hold, and the sessions that wait for an answer.",
    "AI 服务回答其处理的会话；以及等待回答的会话。",
  ],
  none: ["No responders are configured.", "没有配置应答器。"],
  kind: ["Kind", "类型"],
  model: ["Model", "模型"],
  sender: ["Answers as", "回答身份"],
  unit: ["Unit of usage", "用量单位"],
  concurrency: ["At the same time", "并发数"],
  each_process: ["{n} in each process", "每个进程 {n} 个"],
  on_interrupt: ["A message while it answers", "回答时收到新消息"],
  interrupt_restart: ["cancels the answer and begins anew", "取消回答并重新开始"],
  interrupt_queue: ["is answered afterwards", "之后再回答"],
  state: ["State", "状态"],
  state_idle: ["idle", "空闲"],
  state_answering: ["answering", "回答中"],
  state_failing: ["failing", "出错"],
  due: ["To be answered", "待回答"],
  failing: ["Failing", "出错"],
  waiting: ["Waiting since", "等待自"],
  held: ["Sessions it holds", "其处理的会话"],
  show_held: ["Show them", "查看"],
  queue: ["Queue", "队列"],
  queue_empty: ["Nothing waits for an answer.", "没有等待回答的会话。"],
  session: ["Session", "会话"],
  since: ["Since", "自"],
  attempts: ["Failures in a row", "连续失败"],
  turn_answering: ["answering", "回答中"],
  turn_waiting: ["waiting", "等待中"],
  failures: ["Latest failures", "最近的失败"],
  no_failures: ["None.", "无。"],
  time: ["Time", "时间"],
  reason: ["Reason", "原因"],
};

export const t = texts(TEXTS);
