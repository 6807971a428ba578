/** Who are you? An example asks for no password. */

export const SignIn = {
  props: ["people", "t"],
  emits: ["choose", "language"],
  template: `
    <main class="sign-in">
      <div class="card">
        <img src="icon.svg" alt="" width="56" height="56">
        <h1>{{ t.shop }}</h1>
        <p>{{ t.whoAreYou }}</p>
        <template v-for="role in ['customer', 'sales']" :key="role">
          <h2>{{ t[role] }}</h2>
          <ul>
            <li v-for="person in people.filter((each) => each.role === role)" :key="person.id">
              <button @click="$emit('choose', person)">
                <span class="initial" aria-hidden="true">{{ [...person.name][0] }}</span>
                <bdi>{{ person.name }}</bdi>
              </button>
            </li>
          </ul>
        </template>
        <p class="hint">{{ t.twoWindows }}</p>
        <button class="plain" @click="$emit('language')">{{ t.otherLanguage }}</button>
      </div>
    </main>
  `,
};
