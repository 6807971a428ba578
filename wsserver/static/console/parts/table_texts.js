/** Texts of tables. */

import { texts } from "./i18n.js";

export const TEXTS = {
  search: ["Search", "搜索"],
  search_hint: ["Search in all {n} rows", "在全部 {n} 行中搜索"],
  rows_shown: ["{from}–{to} of {n}", "{from}–{to} / {n}"],
  rows_found: ["{from}–{to} of {n} found in {all}", "{from}–{to} / 在 {all} 中找到 {n}"],
  by_id: ["in the order of ids: search to sort", "按 ID 排列：搜索后可排序"],
  none: ["Nothing here.", "这里没有内容。"],
  none_found: ["Nothing found.", "没有找到。"],
  previous: ["Previous", "上一页"],
  next: ["Next", "下一页"],
  loaded: ["Loaded {n} of {all} …", "已加载 {n} / {all}……"],
  cut: [
    "Only the first {n} of {all} are loaded. Narrow the list by a filter.",
    "仅加载了 {all} 中的前 {n} 条，请用筛选条件缩小范围。",
  ],
  download: ["Download as CSV", "下载 CSV"],
  sort_by: ["Sort by {column}", "按{column}排序"],
};

export const t = texts(TEXTS);
