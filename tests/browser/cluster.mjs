// The browser client through a real nginx, with two nodes and a real Redis behind it: cluster.mjs BINARY OUTPUT_DIRECTORY
//
// Claims are checked in the order below, since each goes on from the pages that the one before it left.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { Node, Person, check, eventually, freePort, openBrowser, output } from './support.mjs';

const folder = resolve(output, 'cluster');
mkdirSync(folder, { recursive: true });

/** A server of somebody else's, which is there when it listens. */
async function serve(port, command, ...options) {
  const log = openSync(`${folder}/servers.log`, 'a');
  const server = spawn(command, options, { stdio: ['ignore', log, log] });
  process.once('exit', () => server.kill('SIGKILL'));
  await eventually(`${command} listens`, async () => {
    const socket = connect(port, '127.0.0.1');
    const [isThere] = await Promise.race([once(socket, 'connect').then(() => [true]), once(socket, 'error').then(() => [false], () => [false])]).catch(() => [false]);
    socket.destroy();
    return isThere;
  });
  return async () => {
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    await ended;
  };
}

/** As little as nginx needs for WebSockets; it compresses, as many do, which makes entity tags weak. */
const configuration = (port, nodes) => `
  pid ${folder}/nginx.pid; error_log ${folder}/nginx.log; worker_processes 1;
  events { worker_connections 256; }
  http {
    access_log off; gzip on; gzip_types text/javascript; gzip_proxied any;
    ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/temp;`).join(' ')}
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    upstream texto { ${nodes.map((node) => `server 127.0.0.1:${node.port} max_fails=1 fail_timeout=1s;`).join(' ')} }
    server {
      listen 127.0.0.1:${port};
      proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_next_upstream error timeout http_503;
      location / { proxy_pass http://texto; }
    }
  }`;

const redisPort = await freePort();
const startRedis = () => serve(redisPort, 'redis-server', '--port', redisPort, '--bind', '127.0.0.1', '--save', '', '--dir', folder);
let stopRedis = await startRedis();
const variables = { REDIS_URL: `redis://127.0.0.1:${redisPort}` };
const nodes = [await Node.start(variables), await Node.start(variables)];
const port = await freePort();
writeFileSync(`${folder}/nginx.conf`, configuration(port, nodes));
const nginx = existsSync('/usr/sbin/nginx') ? '/usr/sbin/nginx' : 'nginx';
const stopNginx = await serve(port, nginx, '-p', folder, '-c', `${folder}/nginx.conf`, '-g', 'daemon off;');
const address = `http://127.0.0.1:${port}`;
const browser = await openBrowser();
let alice, bob;

/** The node that an id leads to: ids of one node begin alike. */
const tag = async (person) => (await person.id()).slice(0, 6);

/** Somebody on another node than this one. nginx gives each connection to the next. */
async function arriveElsewhere(than, options, hash) {
  for (let time = 0; time < 10; time++) {
    const person = await Person.arrive(browser, address, options, hash);
    if (await tag(person) !== await tag(than)) return person;
    await person.context.close();
  }
  throw new Error('all came to one node');
}

const claims = {
  async 'page and library come through nginx, compressed, and are asked for anew without being sent anew'() {
    for (const path of ['/', '/texto.js']) {
      const first = await fetch(address + path);
      await first.text();
      assert.equal(first.headers.get('content-encoding'), 'gzip');
      assert.match(first.headers.get('etag'), /^W\//);
      const again = await fetch(address + path, { headers: { 'If-None-Match': first.headers.get('etag') } });
      assert.deepEqual([again.status, await again.text()], [304, '']);
    }
  },

  async 'an invitation leads to somebody on another node, and both directions work'() {
    alice = await Person.arrive(browser, address);
    bob = await arriveElsewhere(alice, { colorScheme: 'dark' }, `#to=${await alice.id()}`);
    await bob.writes('Hello from the other node.');
    await bob.sees('.mine .state', 'Accepted');
    await alice.sees('#list button', 'Hello from the other node.');
    await alice.turnsTo(await bob.id());
    await alice.writes('Hello back.');
    await bob.sees('.bubble p', 'Hello back.');
  },

  async 'while Redis is away a message to the other node fails in the server\'s words, and the retry works when it is back'() {
    await stopRedis();
    await eventually('one fails', async () => {
      await bob.writes('Is anybody there?');
      await bob.at('.mine .state').last().filter({ hasText: /Accepted|Failed/ }).waitFor();
      return await bob.at('.why').count() > 0;
    });
    await bob.sees('.why', '(EBROKER)');
    assert.match(await bob.at('#state').textContent(), /Online/);
    stopRedis = await startRedis();
    await eventually('the retry is accepted', async () => {
      const again = bob.page.getByRole('button', { name: 'Try again' });
      if (await again.count() === 0) return (await bob.at('.mine .state').allTextContents()).every((words) => words === 'Accepted');
      // The button goes when the retry before this one is accepted.
      await again.first().click({ timeout: 1000 }).catch(() => {});
      return false;
    });
    // What Redis took before the other node had subscribed again is accepted, and gone.
    await eventually('the other one hears again', async () => {
      await bob.writes('And now?');
      return await alice.at('.bubble p').filter({ hasText: 'And now?' }).count() > 0;
    });
  },

  async 'who loses the node comes back through the other one and says that the id is new; who is there notices nothing'() {
    const [alicesId, bobsId] = [await alice.id(), await bob.id()];
    // Who is on which of the two is not told outside; one of them is on the first.
    await nodes[0].stop();
    await eventually('one of them has noticed', async () => await alice.id() !== alicesId || await bob.id() !== bobsId);
    const [moved, stayed, before] = await bob.id() !== bobsId ? [bob, alice, bobsId] : [alice, bob, alicesId];
    await moved.sees('#state', 'Online');
    await moved.sees('#notice', 'new id');
    assert.notEqual(await moved.id(), before);
    assert.equal(await tag(moved), await tag(stayed), 'there is one node');
    assert.equal(await stayed.id(), stayed === bob ? bobsId : alicesId);
    await moved.writes('Still here, with a new id.');
    await stayed.sees('#list button', 'Still here, with a new id.');
    nodes[0] = await nodes[0].again();
  },

  async 'a node that dies without a word is left too'() {
    const before = await alice.id();
    await nodes[1].stop('SIGKILL');
    await eventually('both came to the node that is left', async () => await alice.at('#state').textContent() === 'Online' && await alice.id() !== before && await tag(alice) === await tag(bob));
    await bob.turnsTo(await alice.id());
    await bob.writes('Found you.');
    await alice.sees('#list button', 'Found you.');
    assert.deepEqual([...alice.complaints, ...bob.complaints], []);
  },
};

const failed = await check('behind nginx', claims);
await browser.close();
await stopNginx();
await Promise.all(nodes.map((node) => node.stop()));
await stopRedis();
process.exit(failed === 0 ? 0 : 1);
