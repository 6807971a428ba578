/** Files for Vue 3. */

import type { ChatMessage, WsError } from "../src/index.js";
import type { WsComponent } from "./components/index.js";
import type { Session } from "./index.js";

/**
 * Uploads of a composer, in its slot `before`: files that are chosen, dropped on it or pasted into it
 * are uploaded and said in the session.
 */
export const WsUploads: WsComponent<
  {
    /** What `useSession` gave. */
    session: Session;
    /** Types that can be chosen, as the attribute `accept` has them. */
    accept?: string | null;
    /** A file is there, and its message sent. */
    onUploaded?: (fileId: string) => void;
    onFailed?: (error: WsError) => void;
  },
  {},
  {
    /** Upload files and say them in the session. */
    add(files: Iterable<File>): void;
  }
>;

/** The file of a message, in the slot `file` of `WsMessageList`. */
export const WsAttachment: WsComponent<
  {
    /** A message with the content type `application/vnd.wsserver.file+json`. */
    message: ChatMessage;
    /** Show pictures: true. */
    pictures?: boolean;
  },
  {}
>;

/** Names of the texts of `WsUploads` and `WsAttachment`. */
export type FileTextName =
  | "attach"
  | "uploads"
  | "progressOf"
  | "uploadWaiting"
  | "uploadPaused"
  | "uploadFailed"
  | "uploadTooLarge"
  | "uploadNoRoom"
  | "uploadTooMany"
  | "uploadName"
  | "pause"
  | "resume"
  | "cancelUpload"
  | "retryUpload"
  | "download"
  | "fileGone";
