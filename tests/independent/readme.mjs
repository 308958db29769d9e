// The client in README.md, as it stands there, against a real node: whoever copies it gets one that works.
//
//     readme.mjs HOST:PORT           a node with default settings
//
// The block is run unchanged, once for each instance, as the body of a function whose parameters take the place of the globals that it
// uses: `ws` for the WebSocket and the library for `crypto`, because Debian's Node is older than those globals, and a console that is
// listened to. What the client keeps to itself is handed out behind its last line. The last line printed is `N passed, M failed`.

import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import WebSocket from 'ws';

const address = process.argv[2];
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
const [[, source], ...others] = readme.matchAll(/^```js\n(.*?)^```$/gms);
assert.equal(others.length, 0, 'README.md has more than one client in JavaScript');
const run = new Function('WebSocket', 'crypto', 'console', `${source}\nreturn { socket, waiting, send, get me() { return me; } };`);

const patience = 5000;
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function eventually(claim, isSo) {
  const end = Date.now() + patience;
  while (!isSo()) {
    assert.ok(Date.now() < end, `never so: ${claim}`);
    await sleep(5);
  }
}

/** What a promise comes to, which it does in time. */
function outcome(promise) {
  const late = sleep(patience).then(() => 'nothing');
  return Promise.race([promise.then(() => 'resolved', (error) => error.message), late]);
}

/** One instance, with its session, and with all that it has said on the console. */
async function start() {
  const said = [];
  class Socket extends WebSocket {
    constructor(url) {
      assert.equal(url, 'ws://localhost:8398/v1/texto', 'the client in README.md connects to the node that README.md starts');
      super(`ws://${address}/v1/texto`);
    }
  }
  const client = run(Socket, webcrypto, { log: (...words) => said.push(words.join(' ')) });
  await eventually('the session is known', () => client.me);
  return Object.assign(client, { said });
}

const claims = {
  async 'two instances talk'() {
    const [alice, bob] = [await start(), await start()];
    assert.notEqual(alice.me, bob.me);
    assert.equal(await outcome(alice.send(bob.me, 'good morning, 早上好')), 'resolved');
    assert.equal(await outcome(bob.send(alice.me, 'and to you')), 'resolved');
    await eventually('both have heard', () => alice.said.length && bob.said.length);
    assert.deepEqual([bob.said, alice.said], [[`${alice.me} says good morning, 早上好`], [`${bob.me} says and to you`]]);
    assert.equal(alice.waiting.size + bob.waiting.size, 0);
    [alice, bob].forEach(({ socket }) => socket.close());
  },

  async 'each send has its own answer'() {
    const client = await start();
    const sends = ['x', 'nobody at all', 'x'].map((text, index) => client.send(index === 1 ? text : client.me, text));
    const outcomes = await Promise.all(sends.map(outcome));
    assert.deepEqual(outcomes.map((text) => text.split(':')[0]), ['resolved', 'EINVAL', 'resolved']);
    assert.match(outcomes[1], /^EINVAL: ./, 'the code, and why');
    assert.equal(client.waiting.size, 0);
    client.socket.close();
  },

  async 'what waits when the connection ends is rejected'() {
    const client = await start();
    const answered = client.send(client.me, 'short');
    // Above the limit of a node with default settings, which closes the connection for it and answers nothing more.
    const pending = [client.send(client.me, 'x'.repeat(300_000)), client.send(client.me, 'too late')];
    assert.equal(await outcome(answered), 'resolved');
    assert.deepEqual(await Promise.all(pending.map(outcome)), ['closed: 1009', 'closed: 1009']);
    assert.equal(client.waiting.size, 0);
  },
};

let failed = 0;
for (const [claim, check] of Object.entries(claims)) {
  try {
    await check();
    console.log(`ok the client in README.md: ${claim}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED the client in README.md: ${claim}\n${error.stack}`);
  }
}
console.log(`${Object.keys(claims).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
