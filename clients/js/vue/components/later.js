/**
 * Components that are loaded when they are shown for the first time. Their modules import none that the
 * page has loaded before, but are given what they need: bundlers would make more and smaller files of
 * what two of them import.
 */

import { defineAsyncComponent } from "vue";

/**
 * A component by what loads it; nothing else waits for it.
 *
 * @template {import("vue").Component} T
 * @param {() => Promise<T>} loader
 * @returns {T}
 */
export const later = (loader) => defineAsyncComponent({ loader, suspensible: false });
