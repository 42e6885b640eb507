// Play: a service answers in more than one message, and asks back. It is the fixture of the conformance suite.

/** The texts of a tool's result. */
async function texts(peer, tool, args) {
  const { content } = await peer.call(tool, args);
  return content.map((block) => block.text);
}

/**
 * @param {(name: string) => Promise<import('./peer.mjs').Peer>} connect
 * @param {string} run makes every name in it this run's own
 */
export async function play(connect, run) {
  const ann = await connect(`ann-${run}`);
  const { prompts } = await ann.client.listPrompts();
  const prompt = await ann.client.getPrompt({
    name: 'test_prompt_with_arguments',
    arguments: { arg1: 'one', arg2: 'two' }
  });
  const { completion } = await ann.client.complete({
    ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' },
    argument: { name: 'arg1', value: 'par' }
  });

  const progress = [];
  await ann.call('test_tool_with_progress', {}, ({ progress: done }) => progress.push(done));
  await ann.wantLogs('info');
  await ann.call('test_tool_with_logging');
  const logs = await ann.logged.take(3);

  const sampled = await texts(ann, 'test_sampling', { prompt: 'live' });
  const entered = await texts(ann, 'test_elicitation', { message: 'Who are you?' });
  const roots = await texts(ann, 'test_input_required_result_list_roots');
  const rounds = await texts(ann, 'test_input_required_result_multi_round');
  const together = await texts(ann, 'test_input_required_result_multiple_inputs');

  await ann.watchTools();
  await ann.call('test_trigger_tool_change');
  const changed = await ann.changed.next();
  await ann.call('test_trigger_tool_change');

  const facts = { ...ann.facts(), errors: [...ann.errors] };
  const closed = [await ann.close()];
  return {
    ...facts,
    prompts: prompts.map(({ name }) => name),
    prompt: prompt.messages[0].content.text,
    completed: completion.values,
    progress,
    logs,
    sampled,
    entered,
    roots,
    rounds,
    together,
    changed,
    closed
  };
}
