/** Tickets for the connections of one user, which the console's sign-in gives. */

import { beginSession, readSession } from "../parts/account.js";
import { post } from "../parts/api.js";

/** Who is signed in at the console in this browser; null: nobody. */
export async function signedInUser() {
  return (await readSession()).user_id;
}

/** Sign the user of a ticket in at the console, which uses it up; returns the user's id. */
export async function signIn(ticket) {
  return (await beginSession({ ticket })).user_id;
}

/**
 * A `ticketProvider`: a new ticket for each connection, as long as this user is signed in.
 *
 * @param {() => string | null} user whose connections they are. Another tab may sign in somebody
 *   else, who must not take over this page's conversation when it reconnects
 * @param {{first?: string, onEnded: (user: string | null) => void}} options `first`: a ticket for
 *   the first connection; `onEnded` is called where there are no more tickets
 */
export function ticketsOf(user, { first = null, onEnded }) {
  return async () => {
    if (first !== null) {
      const ticket = first;
      first = null;
      return ticket;
    }
    const signedIn = await signedInUser();
    if (signedIn !== null && signedIn === user()) return (await post("/tickets")).ticket;
    onEnded(user());
    return null;
  };
}
