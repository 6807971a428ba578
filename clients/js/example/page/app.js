/** The page: signing in, and then the page of a customer or that of the shop. */

import { createApp, ref, watchEffect } from "vue";
import { useWsLocale } from "@wsserver/client/vue";

import { CustomerPage } from "./customer.js";
import { SalesDesk } from "./desk.js";
import { SignIn } from "./sign-in.js";
import { texts } from "./texts.js";

const PERSON = "person";
const { people, url } = await (await fetch("/people")).json();

createApp({
  components: { CustomerPage, SalesDesk, SignIn },
  setup() {
    const person = ref(people.find(({ id }) => id === sessionStorage.getItem(PERSON)) ?? null);
    const language = ref(navigator.language.startsWith("zh") ? "zh-CN" : "en");
    useWsLocale(language);
    watchEffect(() => {
      document.documentElement.lang = language.value;
      document.title = texts[language.value].shop;
    });

    // Each window is somebody of its own: `sessionStorage` is not shared between them.
    function signIn(chosen) {
      person.value = chosen;
      sessionStorage.setItem(PERSON, chosen.id);
    }

    function signOut() {
      person.value = null;
      sessionStorage.removeItem(PERSON);
      location.hash = "";
    }

    function toggleLanguage() {
      language.value = language.value === "en" ? "zh-CN" : "en";
    }

    /** What the client of this person is made of. */
    const options = () => ({
      url,
      tokenProvider: async () => {
        const body = JSON.stringify({ person: person.value.id });
        const response = await fetch("/token", { method: "POST", body });
        if (!response.ok) throw new Error(`no token: ${response.status}`);
        return (await response.json()).token;
      },
    });
    return { people, person, language, texts, signIn, signOut, toggleLanguage, options };
  },
  template: `
    <SignIn v-if="!person" :people="people" :t="texts[language]" @choose="signIn"
      @language="toggleLanguage" />
    <component :is="person.role === 'sales' ? 'SalesDesk' : 'CustomerPage'" v-else :key="person.id"
      :person="person" :options="options()" :t="texts[language]"
      @sign-out="signOut" @language="toggleLanguage" />
  `,
}).mount("#app");
