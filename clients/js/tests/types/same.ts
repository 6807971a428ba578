/** The types that are written are those of the code: names, options, parameters. */

import * as written from "@wsserver/client";
import * as writtenCalls from "@wsserver/client/calls";
import * as writtenTasks from "@wsserver/client/tasks";
import * as writtenTesting from "@wsserver/client/testing";
import * as writtenVueCalls from "@wsserver/client/vue/calls";
import * as writtenVueFiles from "@wsserver/client/vue/files";
import * as writtenVuePreferences from "@wsserver/client/vue/preferences";
import * as writtenVue from "@wsserver/client/vue";
import * as made from "../../build/src/index.js";
import * as madeCalls from "../../build/src/rtc.js";
import * as madeTasks from "../../build/src/tasks.js";
import * as madeTesting from "../../build/testing/index.js";
import { HOLDER_TEXTS } from "../../build/vue/components/holder-line.js";
import { PANEL_TEXTS } from "../../build/vue/components/notification-panel.js";
import * as madeCallTexts from "../../build/vue/call-texts.js";
import * as madeVueCalls from "../../build/vue/calls.js";
import * as madeFileTexts from "../../build/vue/file-texts.js";
import * as madeVueFiles from "../../build/vue/files.js";
import * as madePreferenceTexts from "../../build/vue/preference-texts.js";
import * as madeVuePreferences from "../../build/vue/preferences.js";
import * as madeTexts from "../../build/vue/texts.js";
import * as madeVue from "../../build/vue/index.js";

type Equal<A, B> = [A] extends [B] ? ([B] extends [A] ? true : [A, "is not", B]) : [A, "is not", B];
const same = <A, B>(_: Equal<A, B>) => {};

/** Names of members, with the number of parameters of methods. */
type Members<T> = {
  [K in Exclude<keyof T, keyof EventTarget | "command" | "cause">]: 0 extends 1 & T[K] // any
    ? "property"
    : T[K] extends (...parameters: infer P) => unknown
      ? Required<P>["length"]
      : "property";
};

same<keyof typeof made, keyof typeof written>(true);
same<Members<made.WsClient>, Members<written.WsClient>>(true);
same<Members<made.WsError>, Members<written.WsError>>(true);
same<Members<made.Answer>, Members<written.Answer>>(true);
same<
  keyof NonNullable<ConstructorParameters<typeof made.WsClient>[0]>,
  keyof NonNullable<ConstructorParameters<typeof written.WsClient>[0]>
>(true);
same<made.WsClient["state"], written.State>(true);

same<keyof typeof madeCalls, keyof typeof writtenCalls>(true);
same<Members<madeCalls.RtcCalls>, Members<writtenCalls.RtcCalls>>(true);
same<Members<madeCalls.RtcCall>, Members<writtenCalls.RtcCall>>(true);
same<
  keyof NonNullable<ConstructorParameters<typeof madeCalls.RtcCalls>[1]>,
  keyof writtenCalls.RtcCallsOptions
>(true);

same<keyof typeof madeTasks, keyof typeof writtenTasks>(true);
same<Members<madeTasks.Tasks>, Members<writtenTasks.Tasks>>(true);

same<keyof typeof madeTesting, keyof typeof writtenTesting>(true);
same<Members<madeTesting.FakeServer>, Members<writtenTesting.FakeServer>>(true);
same<Members<madeTesting.WsReplay>, Members<writtenTesting.WsReplay>>(true);

same<keyof typeof madeVue, keyof typeof writtenVue>(true);
same<
  keyof ReturnType<typeof madeVue.useSession>,
  keyof ReturnType<typeof writtenVue.useSession>
>(true);
same<
  keyof ReturnType<typeof madeVue.useNotifications>,
  keyof ReturnType<typeof writtenVue.useNotifications>
>(true);
same<
  keyof ReturnType<typeof madeVue.useConnection>,
  keyof ReturnType<typeof writtenVue.useConnection>
>(true);

/** Names of the properties of components; listeners are events of theirs. */
type Properties<T> = T extends new (...parameters: any[]) => { $props: infer P }
  ? Exclude<keyof P, `on${string}` | "key" | "ref" | "ref_for" | "ref_key" | "class" | "style">
  : never;
same<
  Properties<typeof madeVue.WsMessageList>,
  Properties<typeof writtenVue.WsMessageList>
>(true);
same<Properties<typeof madeVue.WsComposer>, Properties<typeof writtenVue.WsComposer>>(true);
same<
  Properties<typeof madeVue.WsNotifications>,
  Properties<typeof writtenVue.WsNotifications>
>(true);
same<Properties<typeof madeVue.WsConversationList>, Properties<typeof writtenVue.WsConversationList>>(
  true,
);
same<Properties<typeof madeVue.WsHolder>, Properties<typeof writtenVue.WsHolder>>(true);
same<Properties<typeof madeVue.WsTyping>, Properties<typeof writtenVue.WsTyping>>(true);
same<
  Properties<typeof madeVue.WsConnectionStatus>,
  Properties<typeof writtenVue.WsConnectionStatus>
>(true);
same<
  keyof ReturnType<typeof madeVue.useConversations>,
  keyof ReturnType<typeof writtenVue.useConversations>
>(true);
same<
  keyof typeof madeTexts.TEXTS | keyof typeof HOLDER_TEXTS | keyof typeof PANEL_TEXTS,
  writtenVue.TextName
>(true);

same<keyof typeof madeVueCalls, keyof typeof writtenVueCalls>(true);
same<
  keyof ReturnType<typeof madeVueCalls.useCalls>,
  keyof ReturnType<typeof writtenVueCalls.useCalls>
>(true);
same<Properties<typeof madeVueCalls.WsCall>, Properties<typeof writtenVueCalls.WsCall>>(true);
same<keyof typeof madeCallTexts.CALL_TEXTS, writtenVueCalls.CallTextName>(true);
same<keyof typeof madeVueFiles, keyof typeof writtenVueFiles>(true);
same<Properties<typeof madeVueFiles.WsUploads>, Properties<typeof writtenVueFiles.WsUploads>>(true);
same<
  Properties<typeof madeVueFiles.WsAttachment>,
  Properties<typeof writtenVueFiles.WsAttachment>
>(true);
same<keyof typeof madeFileTexts.FILE_TEXTS, writtenVueFiles.FileTextName>(true);
same<keyof typeof madeVuePreferences, keyof typeof writtenVuePreferences>(true);
same<
  keyof ReturnType<typeof madeVuePreferences.useNotificationPreferences>,
  keyof ReturnType<typeof writtenVuePreferences.useNotificationPreferences>
>(true);
same<
  Properties<typeof madeVuePreferences.WsNotificationPreferences>,
  Properties<typeof writtenVuePreferences.WsNotificationPreferences>
>(true);
same<
  | keyof typeof madePreferenceTexts.PREFERENCE_TEXTS
  | keyof typeof madePreferenceTexts.TEMPLATE_NAMES,
  writtenVuePreferences.PreferenceTextName
>(true);
