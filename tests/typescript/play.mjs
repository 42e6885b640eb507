// `node play.mjs PLAY SDK HOW URL`: plays it with peers of that SDK, and prints what they saw as a line of JSON.

import { randomBytes } from 'node:crypto';

const [name, sdk, how, url] = process.argv.slice(2);
const { play } = await import(`./${name}.mjs`);
const { connect } = await import(`./${sdk}.mjs`);
const seen = await play((agent) => connect(how, url, agent), randomBytes(4).toString('hex'));
console.log(JSON.stringify(seen));
