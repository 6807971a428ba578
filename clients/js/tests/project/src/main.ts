import { createApp } from "vue";
import App from "./App.vue";

const { url, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
createApp(App, { url, token }).mount("#app");
