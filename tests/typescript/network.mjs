// Play: Alice shares a context that Bob watches, and hands him work.

/** A tool's result as data; throws when the tool failed. */
async function ask(peer, tool, args) {
  const result = await peer.call(tool, args);
  if (result.isError) throw new Error(`${tool}: ${JSON.stringify(result.content)}`);
  return result.structuredContent;
}

/** Bob takes one task and answers it. */
async function work(bob) {
  const { tasks } = await ask(bob, 'receive_tasks', { wait_s: 20 });
  const [{ task_id, attempt, message }] = tasks;
  await ask(bob, 'submit_result', { task_id, attempt, status: 'completed', result: { trend: 'up' } });
  return message;
}

/**
 * @param {(name: string) => Promise<import('./peer.mjs').Peer>} connect
 * @param {string} run makes every name in it this run's own
 */
export async function play(connect, run) {
  const alice = await connect(`alice-${run}`);
  const bob = await connect(`bob-${run}`);
  const { tools } = await alice.client.listTools();
  const skill = `analysis-${run}`;
  await ask(bob, 'register_agent', { capabilities: [skill], description: 'Analyses data.' });

  const key = `status-${run}`;
  const uri = `aicp://context/${key}`;
  await bob.watch(uri);
  const { version } = await ask(alice, 'share_context', { context_key: key, context_value: { progress: 75 } });
  const updated = await bob.updated.next();
  const { value } = await ask(bob, 'get_context', { context_key: key });
  const { contents } = await bob.client.readResource({ uri });

  const working = work(bob);
  const order = { message: '데이터를 분석해 주세요', target_capabilities: [skill], wait_s: 20 };
  const { status, result } = await ask(alice, 'route_to_agent', order);
  const message = await working;

  const mistake = await alice.call('route_to_agent', { mesage: 'a slip' });
  const facts = { ...bob.facts(), errors: [...alice.errors, ...bob.errors] };
  const closed = [await alice.close(), await bob.close()];
  return {
    ...facts,
    tools: tools.map((tool) => tool.name),
    version,
    uri,
    updated,
    value,
    read: JSON.parse(contents[0].text).value,
    message,
    status,
    result,
    mistake: { isError: mistake.isError, text: mistake.content[0].text },
    closed
  };
}
