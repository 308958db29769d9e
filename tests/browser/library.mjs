// The library client/texto.js in Node: library.mjs BINARY OUTPUT_DIRECTORY
//
// What depends on time is tried with a socket and a clock that the test holds in its hands; the rest against a real node.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { mock } from 'node:test';
import { promisify } from 'node:util';
import WebSocket from 'ws';
import { Texto, TextoError, waitAfter } from '../../client/texto.js';
import { Node, check, eventually, sleep, uuidV4 } from './support.mjs';

const folder = fileURLToPath(new URL('../../client/', import.meta.url));

// --- a socket in the hands of the test ---

class Socket {
  static all = [];
  static get last() { return Socket.all.at(-1); }
  readyState = 0;
  sent = [];
  isLeft = false;
  constructor(url) { this.url = url; Socket.all.push(this); }
  send(json) { this.sent.push(JSON.parse(json)); }
  close() { this.isLeft = true; }
  says(id, kind, data) { this.onmessage?.({ data: JSON.stringify({ client_id: null, id, kind, data }) }); }
  greets(id) { this.readyState = 1; this.says('greeting', 'connection', { client_id: id }); }
  ends(code, reason = '') { this.readyState = 3; this.onclose?.({ code, reason }); }
  answersAll() { for (const { id } of this.sent.splice(0)) this.says(id, 'ack', null); }
}

/** A client on such a socket, and a clock that stands still until `mock.timers.tick`. */
function scripted(story) {
  return async () => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    Socket.all = [];
    const texto = new Texto('ws://toy/', { WebSocket: Socket, random: () => 0.5 });
    const states = [];
    texto.on('state', ({ name }) => states.push(name));
    try {
      await story(texto, states);
    } finally {
      texto.close();
      mock.timers.reset();
    }
  };
}

/** What becomes of sends, as they settle. */
function outcomes(...promises) {
  const found = promises.map(() => 'pending');
  promises.forEach((promise, index) => promise.then(() => { found[index] = 'sent'; }, (error) => { found[index] = error.code; }));
  return found;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

const withoutServer = {
  'waits are random as a whole, and their bound doubles up to the longest'() {
    const waits = (random) => Array.from({ length: 12 }, (_, failures) => waitAfter(1006, failures, { backoffBase: 500, backoffMax: 30_000, restartSpread: 5000, random: () => random }));
    assert.deepEqual(waits(0), Array(12).fill(0));
    assert.deepEqual(waits(0.5), [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000, 15_000, 15_000, 15_000]);
    assert.equal(waitAfter(1006, 5000, { backoffBase: 500, backoffMax: 30_000, restartSpread: 5000, random: () => 0.999 }), 29_970);
  },

  'a close code is obeyed'() {
    const options = { backoffBase: 500, backoffMax: 30_000, restartSpread: 5000, random: () => 0.5 };
    const expected = [[1000, 250], [1001, 250], [1005, 250], [1006, 250], [1011, 250], [1012, 2500], [1008, 15_250], [1009, 5250], [1013, 10_250],
      [1002, 60_250], [1007, 60_250], [4000, null], [4403, null]];
    assert.deepEqual(expected.map(([code]) => [code, waitAfter(code, 0, options)]), expected);
  },

  'a lost connection is made anew after its wait, not before': scripted((texto, states) => {
    Socket.last.greets('a');
    Socket.last.ends(1012, 'bye');
    assert.deepEqual(texto.state, { name: 'waiting', until: Date.now() + 2500, code: 1012, reason: 'bye' });
    assert.equal(texto.id, null);
    mock.timers.tick(2499);
    assert.equal(Socket.all.length, 1);
    mock.timers.tick(1);
    assert.equal(Socket.all.length, 2);
    Socket.last.greets('b');
    assert.deepEqual(texto.state, { name: 'online', id: 'b', previous: 'a' });
    assert.deepEqual(states, ['online', 'waiting', 'connecting', 'online']);
  }),

  'a server that greets and hangs up is not hammered, one that lasted is forgiven': scripted((texto) => {
    const waits = [];
    const lose = () => {
      Socket.last.ends(1006);
      waits.push(texto.state.until - Date.now());
      mock.timers.tick(waits.at(-1));
      Socket.last.greets('x');
    };
    Socket.last.greets('x');
    for (let time = 0; time < 3; time++) lose();
    mock.timers.tick(10_000);
    lose();
    assert.deepEqual(waits, [250, 500, 1000, 250]);
  }),

  'after a no for good it stays away until it is told to connect': scripted(async (texto, states) => {
    Socket.last.greets('a');
    const sent = texto.send('b', 'on its way');
    Socket.last.ends(4403, 'not you');
    await assert.rejects(sent, { code: 'ECLOSED', mayHaveArrived: true });
    assert.deepEqual(texto.state, { name: 'closed', code: 4403, reason: 'not you' });
    mock.timers.tick(3_600_000);
    assert.equal(Socket.all.length, 1);
    await assert.rejects(texto.send('b', 'too late'), { code: 'EOFFLINE', mayHaveArrived: false });
    texto.connect();
    Socket.last.greets('c');
    assert.equal(texto.id, 'c');
    assert.deepEqual(states, ['online', 'closed', 'connecting', 'online']);
  }),

  'a server that does not greet in time is left': scripted((texto) => {
    mock.timers.tick(9_999);
    assert.equal(texto.state.name, 'connecting');
    mock.timers.tick(1);
    assert.equal(texto.state.name, 'waiting');
    assert.equal(Socket.last.isLeft, true);
    // What it says afterwards is not listened to.
    Socket.last.greets('late');
    assert.equal(texto.id, null);
  }),

  'a server that does not answer in time is left, and each send is told': scripted(async (texto) => {
    Socket.last.greets('a');
    const first = outcomes(texto.send('b', 'first'));
    mock.timers.tick(10_000);
    const second = outcomes(texto.send('b', 'second'));
    mock.timers.tick(5_000);
    await settled();
    assert.deepEqual([...first, ...second], ['ETIMEOUT', 'ECLOSED']);
    assert.equal(texto.state.name, 'waiting');
  }),

  'a check that stays unanswered makes the connection anew, one that is answered does not': scripted((texto) => {
    Socket.last.greets('a');
    texto.check();
    const { id, kind } = Socket.last.sent[0];
    assert.equal(kind, 'registration');
    Socket.last.says(id, 'connection', { client_id: 'a' });
    mock.timers.tick(60_000);
    assert.equal(texto.id, 'a');
    texto.check();
    mock.timers.tick(15_000);
    assert.equal(texto.state.name, 'waiting');
  }),

  'what is sent while offline waits in order, visibly, and goes out with the new id': scripted(async (texto) => {
    const lengths = [];
    texto.on('queue', (length) => lengths.push(length));
    const found = outcomes(...['1', '2', '3'].map((text) => texto.send('b', text)));
    assert.equal(texto.queued, 3);
    Socket.last.greets('a');
    assert.deepEqual(Socket.last.sent.map(({ client_id, data }) => [client_id, data.receiver_id, data.text]), [['a', 'b', '1'], ['a', 'b', '2'], ['a', 'b', '3']]);
    Socket.last.answersAll();
    await settled();
    assert.deepEqual(found, ['sent', 'sent', 'sent']);
    assert.deepEqual(lengths, [1, 2, 3, 0]);
  }),

  'nothing is given to a socket that has begun to close': scripted(async (texto) => {
    Socket.last.greets('a');
    Socket.last.readyState = 2;
    const found = outcomes(texto.send('b', 'patience'));
    Socket.last.ends(1012);
    await settled();
    assert.deepEqual([found[0], texto.queued], ['pending', 1]);
  }),

  'the queue is bounded in messages and in characters': scripted(async (texto) => {
    const small = outcomes(...Array.from({ length: 1001 }, () => texto.send('b', 'x')));
    await settled();
    assert.deepEqual([small[999], small[1000], texto.queued], ['pending', 'EQUEUE', 1000]);
    Socket.last.greets('a');
    // The rest follows as answers come: never more than 64 are on their way.
    while (texto.queued) {
      assert.equal(Socket.last.sent.length, 64);
      Socket.last.answersAll();
    }
    Socket.last.answersAll();
    Socket.last.ends(1006);
    const large = outcomes(texto.send('b', 'x'.repeat(4_000_000)), texto.send('b', 'x'.repeat(200_000)), texto.send('b', 'x'));
    await settled();
    assert.deepEqual(large, ['pending', 'EQUEUE', 'pending']);
  }),

  'what waits too long for a connection is given back': scripted(async (texto) => {
    const found = outcomes(texto.send('b', 'old'));
    mock.timers.tick(150_000);
    const young = outcomes(texto.send('b', 'young'));
    mock.timers.tick(150_000);
    await settled();
    assert.deepEqual([...found, ...young, texto.queued], ['EOFFLINE', 'pending', 1]);
  }),

  'the longest of what was on its way is to blame for 1009': scripted(async (texto) => {
    Socket.last.greets('a');
    const found = outcomes(texto.send('b', 'x'), texto.send('b', 'xxx'), texto.send('b', 'xx'));
    Socket.last.ends(1009);
    await settled();
    assert.deepEqual(found, ['ECLOSED', 'ETOOLONG', 'ECLOSED']);
  }),

  'an error tells its code, its words, and whether the message may have arrived': scripted(async (texto) => {
    Socket.last.greets('a');
    for (const [code, mayHaveArrived] of [['EINVAL', false], ['ERATE', false], ['EBROKER', true]]) {
      const send = texto.send('b', 'x');
      Socket.last.says(Socket.last.sent.pop().id, 'error', { code, description: 'so it is' });
      await assert.rejects(send, (error) => {
        assert.ok(error instanceof TextoError && error instanceof Error);
        assert.deepEqual([error.code, error.description, error.message, error.mayHaveArrived], [code, 'so it is', `${code}: so it is`, mayHaveArrived]);
        return true;
      });
    }
  }),

  'what is no string is refused on the spot': scripted(async (texto) => {
    for (const [to, text] of [['b', undefined], ['b', 1n], [null, 'x']]) await assert.rejects(texto.send(to, text), { code: 'EINVAL' });
    assert.equal(texto.queued, 0);
  }),

  'an answer that nobody waits for and words that are no message are told': scripted((texto) => {
    const codes = [];
    texto.on('error', ({ code }) => codes.push(code));
    Socket.last.greets('a');
    Socket.last.says('unknown', 'error', { code: 'ESYNTAX', description: 'what?' });
    Socket.last.says('unknown', 'ack', null);
    for (const data of ['{', 'null', '']) Socket.last.onmessage({ data });
    assert.deepEqual(codes, ['ESYNTAX', 'EPROTOCOL', 'EPROTOCOL', 'EPROTOCOL']);
  }),

  'a listener ends when it is told to, and one that throws harms nobody': scripted(async (texto) => {
    const heard = [];
    const thrown = new Promise((resolve) => process.once('uncaughtException', resolve));
    texto.on('message', () => { throw new Error('mine'); });
    const end = texto.on('message', ({ from, text }) => heard.push([from, text]));
    Socket.last.greets('a');
    Socket.last.says('1', 'receive', { sender_id: 'b', text: 'one' });
    assert.equal((await thrown).message, 'mine');
    end();
    process.once('uncaughtException', () => {});
    Socket.last.says('2', 'receive', { sender_id: 'b', text: 'two' });
    await settled();
    assert.deepEqual(heard, [['b', 'one']]);
    assert.throws(() => texto.on('mesage', () => {}), TypeError);
  }),

  'close rejects what waits and what is on its way, and ends every timer': scripted(async (texto) => {
    Socket.last.greets('a');
    const found = outcomes(...Array.from({ length: 65 }, () => texto.send('b', 'x')));
    texto.close();
    await settled();
    assert.deepEqual([found[0], found[63], found[64], texto.queued], ['ECLOSED', 'ECLOSED', 'EOFFLINE', 0]);
    assert.equal(Socket.last.isLeft, true);
    mock.timers.tick(3_600_000);
    assert.equal(Socket.all.length, 1);
    texto.close();
    assert.equal(texto.state.code, 1000);
  }),

  'without a WebSocket it says what is missing'() {
    if (globalThis.WebSocket) return;
    assert.throws(() => new Texto('ws://toy/'), /pass one as an option/);
  },

  'a URL that no WebSocket takes is the caller\'s to mend'() {
    assert.throws(() => new Texto('ftp://toy/', { WebSocket }), SyntaxError);
  },

  'its types are sound, and those in texto.d.ts are its own'() {
    const made = mkdtempSync(`${tmpdir()}/texto-types-`);
    try {
      const tsc = (...options) => spawnSync(process.execPath, [fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url)),
        '--strict', '--allowJs', '--checkJs', '--target', 'es2022', '--module', 'nodenext', '--lib', 'es2022,dom', ...options], { encoding: 'utf8' });
      const { stdout, status } = tsc('--declaration', '--emitDeclarationOnly', '--outDir', made, `${folder}texto.js`);
      assert.equal(status, 0, stdout);
      assert.equal(readFileSync(`${folder}texto.d.ts`, 'utf8'), readFileSync(`${made}/texto.d.ts`, 'utf8'), 'client/texto.d.ts is not what tsc makes of client/texto.js');
    } finally {
      rmSync(made, { recursive: true });
    }
  },

  'its package holds what one needs, and nothing else'() {
    const [{ files, name, version }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: folder, encoding: 'utf8' }));
    const [, serverVersion] = readFileSync(`${folder}../Cargo.toml`, 'utf8').match(/^version = "(.*)"$/m);
    assert.deepEqual([name, version], ['texto-client', serverVersion]);
    assert.deepEqual(files.map(({ path }) => path).sort(), ['LICENSE', 'README.md', 'package.json', 'texto.d.ts', 'texto.js']);
    assert.equal(readFileSync(`${folder}LICENSE`, 'utf8'), readFileSync(`${folder}../LICENSE`, 'utf8'));
  },
};

// --- against a real node ---

let node;
const clients = [];

/** A client that comes back soon, and what it has heard. */
async function join(options = {}) {
  const client = new Texto(node.url, { WebSocket, backoffMax: 200, restartSpread: 200, ...options });
  client.heard = [];
  client.on('message', ({ from, text }) => client.heard.push([from, text]));
  clients.push(client);
  await eventually('it is online', () => client.id);
  return client;
}

const withServer = {
  async 'two clients talk'() {
    const [alice, bob] = [await join(), await join()];
    assert.match(alice.id, uuidV4);
    await alice.send(bob.id, 'good morning, 早上好 🚀\u0000');
    await bob.send(alice.id, 'and to you');
    await eventually('both have heard', () => alice.heard.length && bob.heard.length);
    assert.deepEqual([bob.heard, alice.heard], [[[alice.id, 'good morning, 早上好 🚀\u0000']], [[bob.id, 'and to you']]]);
  },

  async 'two thousand messages at once arrive whole and in order'() {
    const [alice, bob] = [await join({ queueMax: 2000 }), await join()];
    await Promise.all(Array.from({ length: 2000 }, (_, number) => alice.send(bob.id, String(number))));
    await eventually('all have arrived', () => bob.heard.length === 2000);
    assert.deepEqual(bob.heard.map(([, text]) => text), Array.from({ length: 2000 }, (_, number) => String(number)));
  },

  async 'the server\'s no is told in the server\'s words'() {
    const alice = await join();
    await assert.rejects(alice.send('bob', 'x'), { code: 'EINVAL', description: 'data.receiver_id is not a UUID', mayHaveArrived: false });
    await assert.rejects(alice.send(alice.id, '\ud800'), { name: 'TextoError' });
    await alice.send(alice.id, 'and on it goes');
  },

  async 'a message above the limit is told from one that was merely beside it'() {
    const [alice, bob] = [await join(), await join()];
    const [short, long] = await Promise.allSettled([alice.send(bob.id, 'short'), alice.send(bob.id, 'x'.repeat(300_000))]);
    assert.deepEqual([short.status, long.reason?.code], ['fulfilled', 'ETOOLONG']);
    assert.deepEqual([alice.state.name, alice.state.code], ['waiting', 1009]);
  },

  async 'a node that stops and comes back finds its clients again, and what they had to say'() {
    const [alice, bob] = [await join(), await join()];
    const before = alice.id;
    await node.stop();
    await eventually('both have noticed', () => !alice.id && !bob.id);
    assert.equal(alice.state.name === 'waiting' || alice.state.name === 'connecting', true);
    const sent = alice.send(before, 'to an id that is gone');
    node = await node.again();
    await eventually('both are back', () => alice.id && bob.id);
    await sent;
    assert.equal(alice.state.previous, before);
    await alice.send(bob.id, 'found you');
    await eventually('it has arrived', () => bob.heard.length === 1);
  },

  async 'a node that dies leaves no send without its outcome'() {
    const [alice, bob] = [await join(), await join()];
    const sends = Promise.allSettled(Array.from({ length: 500 }, () => alice.send(bob.id, 'x')));
    await node.stop('SIGKILL');
    await eventually('it has noticed', () => !alice.id);
    alice.close();
    const codes = new Set((await sends).map(({ reason }) => reason?.code));
    for (const code of codes) assert.ok([undefined, 'ECLOSED', 'EOFFLINE'].includes(code), code);
    node = await node.again();
  },

  async 'a program ends by itself once its client is closed, in whatever state'() {
    const module = JSON.stringify(new URL('../../client/texto.js', import.meta.url));
    const ws = JSON.stringify(new URL('node_modules/ws/wrapper.mjs', import.meta.url));
    const program = (url, when) => `import WebSocket from ${ws}; import { Texto } from ${module};
      const texto = new Texto('${url}', { WebSocket });
      texto.on('state', ({ name }) => { if (name === '${when}') { texto.send(texto.id ?? 'x', 'x').catch(() => {}); texto.check(); texto.close(); console.log('closed'); } });
      if ('${when}' === 'connecting') { texto.close(); console.log('closed'); }`;
    const run = (url, when) => promisify(execFile)(process.execPath, ['--input-type=module', '-e', program(url, when)], { timeout: 10_000 });
    const refused = node.url.replace(/:\d+/, ':1');
    const runs = await Promise.all([run(node.url, 'online'), run(node.url, 'connecting'), run(refused, 'waiting')]);
    assert.deepEqual(runs.map(({ stdout }) => stdout), ['closed\n', 'closed\n', 'closed\n']);
  },
};

node = await Node.start();
let failed = await check('library', { ...withoutServer, ...withServer });
clients.forEach((client) => client.close());
await node.stop();
process.exit(failed === 0 ? 0 : 1);
