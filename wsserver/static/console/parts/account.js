/** Who is signed in, and what they may do. */

import { get, request } from "./api.js";

const SESSION = "/console/session";
const UNCONFINED = ["admin", "service"];

/** Who is signed in at the console in this browser, until when, and what the console has. */
export const readSession = () => request("GET", SESSION, { isSignIn: true });

/** Sign in with `{ token }` or `{ ticket }`; rejects where it is refused. */
export const beginSession = (credential) =>
  request("POST", SESSION, { body: credential, isSignIn: true });

export class Account {
  /** The answer of `/whoami`; null before `load`. */
  identity = null;
  /** Names of the server's extensions. */
  extensions = [];
  /** Pages that they add, as the server describes them. */
  pages = [];

  /** Read who is signed in; returns false where nobody is. */
  async load() {
    const session = await readSession();
    this.extensions = session.extensions ?? [];
    this.pages = session.pages ?? [];
    if (session.user_id === null) return false;
    this.identity = await request("GET", "/whoami", { isSignIn: true });
    return true;
  }

  /** Sign in with `{ token }` or `{ ticket }`; rejects where it is refused. */
  async signIn(credential) {
    await beginSession(credential);
    await this.load();
  }

  async signOut() {
    await request("DELETE", SESSION, { isSignIn: true });
  }

  /** Read the identity again, as its permissions and the server's version may have changed. */
  async refresh() {
    this.identity = await get("/whoami");
  }

  may(permission) {
    return permission === null || this.identity.permissions.includes(permission);
  }

  /** The one organization that the user sees; null: all. */
  get organization() {
    return UNCONFINED.includes(this.identity.role) ? null : (this.identity.organization_id ?? "");
  }

  /** Whether the user would see one organization and has none: the API refuses nearly everything. */
  get lacksOrganization() {
    return this.organization === "";
  }

  get isConfined() {
    return this.organization !== null;
  }
}
