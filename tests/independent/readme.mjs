// The clients in README.md, as they stand there, against a real node: whoever copies them gets ones that work.
//
//     readme.mjs HOST:PORT DIRECTORY           a node with default settings, and where programs may be put
//
// The first block, with the library, is run as a program of its own. The second is run unchanged, once for each instance, as the body of a
// function whose parameters take the place of the globals that it uses: `ws` for the WebSocket and the library for `crypto`, because
// Debian's Node is older than those globals, and a console that is listened to. What the client keeps to itself is handed out behind its
// last line. The last line printed is `N passed, M failed`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import WebSocket from 'ws';

const [address, directory] = process.argv.slice(2);
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
const [[, withLibrary], [, source], ...others] = readme.matchAll(/^```js\n(.*?)^```$/gms);
assert.equal(others.length, 0, 'README.md has more than two clients in JavaScript');
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

/** The client with the library, as a program; what it prints is noted. */
async function startProgram() {
  const child = spawn(process.execPath, [`${directory}/readme/client.mjs`, `ws://${address}/v1/texto`], { stdio: ['pipe', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill());
  const program = { child, printed: '', id: () => program.printed.match(/^online (\S+)$/m)?.[1] };
  child.stdout.on('data', (bytes) => { program.printed += bytes; });
  await eventually('the program is online', program.id);
  return program;
}

/** A folder as `npm install ./client ws` makes it. */
async function installProgram() {
  await rm(`${directory}/readme`, { recursive: true, force: true });
  await mkdir(`${directory}/readme/node_modules`, { recursive: true });
  const packages = { 'texto-client': '../../client', ws: 'node_modules/ws' };
  for (const [name, place] of Object.entries(packages)) {
    await symlink(fileURLToPath(new URL(place, import.meta.url)), `${directory}/readme/node_modules/${name}`);
  }
  await writeFile(`${directory}/readme/client.mjs`, withLibrary);
}

const claims = {
  async 'they are as short as they say'() {
    const lines = (text) => text.trimEnd().split('\n').length;
    assert.ok(lines(withLibrary) <= 15, `${lines(withLibrary)} lines with the library`);
    assert.ok(lines(source) <= 30, `${lines(source)} lines without it`);
  },

  async 'with the library: two programs talk, are told what was wrong, and end with their input'() {
    await installProgram();
    const [alice, bob] = [await startProgram(), await startProgram()];
    alice.child.stdin.write(`${bob.id()} good morning, 早上好\nnobody at all\n`);
    await eventually('both have heard', () => bob.printed.includes(`${alice.id()} says good morning, 早上好\n`) && alice.printed.includes('EINVAL: '));
    for (const { child } of [alice, bob]) {
      const ended = once(child, 'exit');
      child.stdin.end();
      assert.deepEqual(await ended, [0, null]);
    }
  },

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
