// What the plays know of a client, whatever SDK and era of the protocol it speaks with; and what it answers when asked.

import { Mailbox } from './mailbox.mjs';

/**
 * @typedef {object} Peer
 * @property {any} client of the SDK, connected
 * @property {(tool: string, args?: object, onprogress?: (progress: object) => void) => Promise<object>} call a tool
 * @property {(uri: string) => Promise<void>} watch be told of the changes of a resource: their URIs come to `updated`
 * @property {() => Promise<void>} watchTools be told of changes of the list of tools: they come to `changed`
 * @property {(level: string) => Promise<void>} wantLogs get log messages of this level and above: they come to `logged`
 * @property {Mailbox} updated
 * @property {Mailbox} changed
 * @property {Mailbox} logged
 * @property {string[]} errors what the SDK complained about; SDK 1.x also does so when it closes an event stream itself
 * @property {() => object} facts what was agreed with the server
 * @property {() => Promise<object>} close say goodbye; what came of it
 */

export const CAPABILITIES = { sampling: {}, elicitation: {}, roots: {} };

/** The person fills in whatever form: texts with their field's name, yes to the rest. */
export function fillIn({ params }) {
  const fields = Object.entries(params.requestedSchema.properties);
  const content = fields.map(([field, { type }]) => [field, type === 'boolean' ? true : `my ${field}`]);
  return { action: 'accept', content: Object.fromEntries(content) };
}

/** The LLM says what it was asked, backwards. */
export function generate({ params }) {
  const [{ content }] = params.messages;
  // Since 2025-11-25 a message may have one block of content or several.
  const [{ text }] = [content].flat();
  return { role: 'assistant', model: 'mirror', content: { type: 'text', text: [...text].reverse().join('') } };
}

export function listRoots() {
  return { roots: [{ uri: 'file:///work', name: 'work' }] };
}

/** The mailboxes of a peer. */
export function mailboxes() {
  return { updated: new Mailbox(), changed: new Mailbox(), logged: new Mailbox() };
}
