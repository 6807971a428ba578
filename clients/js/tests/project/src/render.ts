import { createSSRApp } from "vue";
import { renderToString } from "vue/server-renderer";
import App from "./App.vue";

export const render = () =>
  renderToString(createSSRApp(App, { url: "http://127.0.0.1:1", token: "t" }));
