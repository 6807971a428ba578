/**
 * Sizes as a bundler makes them, minified and gzipped, in bytes, as JSON: `client`, what a page loads
 * first; `later`, the modules that it loads when it needs them; `vue`, what the parts for Vue load first,
 * without client and Vue; `style`.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const size = (text) => gzipSync(text, { level: 9 }).length;
const sum = (chunks) => chunks.reduce((total, { code }) => total + size(code), 0);

async function chunks(input, external) {
  const bundle = await rolldown({ input: join(ROOT, input), external, logLevel: "silent" });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  return output;
}

/** What the entry imports statically, itself included. */
function first(all) {
  const wanted = new Set([all.find(({ isEntry }) => isEntry).fileName]);
  for (const name of wanted) {
    for (const each of all.find(({ fileName }) => fileName === name)?.imports ?? []) wanted.add(each);
  }
  return all.filter(({ fileName }) => wanted.has(fileName));
}

const client = await chunks("src/index.js", []);
const vue = await chunks("vue/index.js", [/^vue$/, /\/src\//]);
const loaded = first(client);
console.log(
  JSON.stringify({
    client: sum(loaded),
    later: sum(client.filter((each) => !loaded.includes(each))),
    vue: sum(first(vue)),
    style: size(readFileSync(join(ROOT, "vue/style.css"))),
  }),
);
