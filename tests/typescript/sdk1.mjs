// A peer of the official SDK 1.x, over Streamable HTTP or WebSocket.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js';

import { CAPABILITIES, fillIn, generate, listRoots, mailboxes } from './peer.mjs';

/**
 * @param {'http' | 'websocket'} how
 * @param {string} address
 * @param {string} name of the agent
 * @returns {Promise<import('./peer.mjs').Peer>}
 */
export async function connect(how, address, name) {
  const url = new URL(address);
  url.searchParams.set('agent', name);
  const transport = how === 'websocket' ? new WebSocketClientTransport(url) : new StreamableHTTPClientTransport(url);
  const client = new Client({ name, version: '1.0.0' }, { capabilities: CAPABILITIES });
  const errors = [];
  client.onerror = (error) => errors.push(String(error));
  const closed = new Promise((resolve) => {
    client.onclose = resolve;
  });
  const boxes = mailboxes();
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => boxes.updated.put(params.uri));
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => boxes.changed.put('tools'));
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => boxes.logged.put(params.data));
  client.setRequestHandler(ElicitRequestSchema, fillIn);
  client.setRequestHandler(CreateMessageRequestSchema, generate);
  client.setRequestHandler(ListRootsRequestSchema, listRoots);
  await client.connect(transport);

  async function close() {
    const session = transport.sessionId;
    if (session) await transport.terminateSession();
    await client.close();
    await closed;
    if (!session) return { session: null };
    // A session that was ended is not there any more.
    const answer = await fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': session } });
    await answer.text();
    return { session: answer.status };
  }

  return {
    ...boxes,
    client,
    errors,
    call: (tool, args = {}, onprogress) => client.callTool({ name: tool, arguments: args }, undefined, { onprogress }),
    watch: (uri) => client.subscribeResource({ uri }),
    watchTools: async () => {},
    wantLogs: (level) => client.setLoggingLevel(level),
    facts: () => ({ server: client.getServerVersion(), instructions: client.getInstructions() }),
    close
  };
}
