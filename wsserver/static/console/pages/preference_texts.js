/** Texts of a user's notification preferences. */

import { texts } from "../parts/i18n.js";

export const TEXTS = {
  preferences: ["Notification preferences", "通知偏好"],
  preferences_of: ["Notification preferences of {user}", "{user} 的通知偏好"],
  change: ["Change…", "修改…"],
  save: ["Save", "保存"],
  saved: ["Saved.", "已保存。"],
  no_preferences: ["Nothing chosen: all channels are on.", "未作选择：所有渠道均开启。"],
  template: ["Template", "模板"],
  all_templates: ["All templates", "所有模板"],
  channel_websocket: ["WebSocket", "WebSocket"],
  channel_push: ["Push", "推送"],
  channel_sms: ["SMS", "短信"],
  channel_email: ["E-mail", "邮箱"],
  on: ["on", "开启"],
  off: ["off", "关闭"],
  as_all: ["as for all templates", "与所有模板相同"],
  quiet_hours: ["Quiet hours", "免打扰时段"],
  quiet_from: ["Quiet from", "免打扰开始"],
  quiet_until: ["Quiet until", "免打扰结束"],
  quiet_zone: ["Time zone of the quiet hours", "免打扰时段的时区"],
  quiet_hint: ["Empty: those of the contact addresses.", "留空：使用联系方式中的时段。"],
  of_contacts: ["of the contact addresses", "来自联系方式"],
  digest: ["Daily digest", "每日摘要"],
  digest_at: ["Daily digest at", "每日摘要时间"],
  digest_hint: ["Empty: no digest.", "留空：无摘要。"],
  digest_zone: ["Time zone of the digest", "摘要的时区"],
  digest_channels: ["Channels of the digest", "摘要的渠道"],
};

export const t = texts(TEXTS);
