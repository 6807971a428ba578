/** The browser client: `clients/js` in the source, `@wsserver/client` as a package. */

export * from "./client/index.js";
