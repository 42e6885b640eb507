// A peer of the official SDK 2.x over Streamable HTTP, in the handshake era or in the stateless one.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { CAPABILITIES, fillIn, generate, listRoots, mailboxes } from './peer.mjs';

/** How the SDK is told which era it shall speak. */
const MODES = { handshake: 'legacy', stateless: { pin: '2026-07-28' }, negotiated: 'auto' };
const LOG_LEVEL = 'io.modelcontextprotocol/logLevel';

/**
 * @param {'handshake' | 'stateless' | 'negotiated'} how
 * @param {string} address
 * @param {string} name of the agent
 * @returns {Promise<import('./peer.mjs').Peer>}
 */
export async function connect(how, address, name) {
  const url = new URL(address);
  url.searchParams.set('agent', name);
  const transport = new StreamableHTTPClientTransport(url);
  const versionNegotiation = { mode: MODES[how] };
  const client = new Client({ name, version: '1.0.0' }, { capabilities: CAPABILITIES, versionNegotiation });
  const errors = [];
  client.onerror = (error) => errors.push(String(error));
  const boxes = mailboxes();
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => boxes.updated.put(params.uri));
  client.setNotificationHandler('notifications/tools/list_changed', () => boxes.changed.put('tools'));
  client.setNotificationHandler('notifications/message', ({ params }) => boxes.logged.put(params.data));
  client.setRequestHandler('elicitation/create', fillIn);
  client.setRequestHandler('sampling/createMessage', generate);
  client.setRequestHandler('roots/list', listRoots);
  await client.connect(transport);
  const stateless = client.getProtocolEra() === 'modern';

  const subscriptions = [];
  let meta;

  async function listen(filter) {
    subscriptions.push(await client.listen(filter));
  }

  async function close() {
    const ended = [];
    for (const subscription of subscriptions) {
      await subscription.close();
      ended.push(await subscription.closed);
    }
    if (transport.sessionId) await transport.terminateSession();
    await client.close();
    return { subscriptions: ended };
  }

  return {
    ...boxes,
    client,
    errors,
    call: (tool, args = {}, onprogress) =>
      client.callTool({ name: tool, arguments: args, ...(meta ? { _meta: meta } : {}) }, { onprogress }),
    watch: (uri) => (stateless ? listen({ resourceSubscriptions: [uri] }) : client.subscribeResource({ uri })),
    watchTools: async () => {
      if (stateless) await listen({ toolsListChanged: true });
    },
    wantLogs: async (level) => {
      if (stateless) meta = { [LOG_LEVEL]: level };
      else await client.setLoggingLevel(level);
    },
    facts: () => ({
      era: client.getProtocolEra(),
      revision: client.getNegotiatedProtocolVersion(),
      server: client.getServerVersion(),
      instructions: client.getInstructions(),
      honored: subscriptions.map((subscription) => subscription.honoredFilter)
    }),
    close
  };
}
