// The browser client in a real browser, served by a real node: chat.mjs BINARY OUTPUT_DIRECTORY
//
// Claims are checked in the order below, since each goes on from the page that the one before it left. Screenshots for a person to
// look at go to the output directory. The last line is `N passed, M failed`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [binary, output] = process.argv.slice(2);
const patience = 15_000; // milliseconds
const uuidV4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const launchOptions = {
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
};

// --- the node ---

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

class Node {
  constructor(port) {
    const { REDIS_URL, ...environment } = process.env;
    const own = { HOST: '127.0.0.1', PORT: String(port), TEXTO_ADMIN_ADDRESS: 'off', TEXTO_DRAIN_TIME: '0s' };
    this.process = spawn(binary, { env: { ...environment, ...own }, stdio: ['ignore', 'ignore', 'pipe'] });
    this.log = createInterface({ input: this.process.stderr });
    this.log.on('line', (line) => log.write(line + '\n'));
    // However this program ends, it leaves no node behind.
    process.once('exit', () => this.process.kill('SIGKILL'));
  }

  static start(port) {
    const node = new Node(port);
    return new Promise((resolve, reject) => {
      node.log.on('line', (line) => line.includes('listens on') && resolve(node));
      node.process.once('exit', (code) => reject(new Error(`the node ended with ${code} before it listened`)));
      node.process.once('error', reject);
    });
  }

  async stop() {
    const ended = this.process.exitCode ?? once(this.process, 'exit');
    this.process.kill('SIGTERM');
    await ended;
  }
}

// --- a page of the client ---

class Person {
  static async arrive(browser, options = {}, hash = '') {
    const person = new Person();
    const context = await browser.newContext(options);
    person.complaints = [];
    person.page = await context.newPage();
    person.page.setDefaultTimeout(patience);
    person.page.on('pageerror', (error) => person.complaints.push(String(error)));
    person.page.on('dialog', (dialog) => { person.complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    // A lost connection is logged by the browser itself, and is no fault of the page.
    person.page.on('console', (line) => line.type() === 'error' && !/WebSocket/.test(line.text()) && person.complaints.push(line.text()));
    person.response = await person.page.goto(address + '/' + hash);
    await person.sees('#state', 'Connected');
    return person;
  }

  sees = (place, text) => this.page.locator(place).filter({ hasText: text }).first().waitFor();
  id = () => this.page.locator('#me').textContent();

  async writes(recipient, text) {
    await this.page.getByLabel('Recipient’s id').fill(recipient);
    await this.page.getByRole('textbox', { name: 'Message' }).fill(text);
    await this.page.getByRole('button', { name: 'Send' }).click();
  }

  async photographed(name) {
    await this.page.evaluate(() => scrollTo(0, 0));
    await this.page.screenshot({ path: `${output}/${name}.png`, fullPage: true });
  }
}

// --- claims ---

// Emoji and Chinese show as boxes on a screenshot where no font has them; what counts is the text.
const greeting = 'Good morning, Alice! 早上好 🚀';
const hostile = '<img src=x onerror="alert(1)"><script>alert(2)</script><b>bold</b>';
let alice, bob;

/** What a Content-Security-Policy has to say to allow the one element of this name. */
function hashOf(element, page) {
  const [, content] = page.match(`<${element}>([^]*)</${element}>`);
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
}

const claims = {
  async 'the page is served with a policy that allows nothing foreign'() {
    alice = await Person.arrive(browser);
    const policy = alice.response.headers()['content-security-policy'] ?? '';
    const page = await alice.response.text();
    for (const part of ["default-src 'none'", `script-src ${hashOf('script', page)}`, `style-src ${hashOf('style', page)}`, "connect-src 'self'"]) {
      assert(policy.split('; ').includes(part), `the policy should have ${part}, but is ${policy}`);
    }
  },

  async 'each page shows an id of its own'() {
    bob = await Person.arrive(browser, { colorScheme: 'dark' }, `#to=${await alice.id()}`);
    assert.match(await alice.id(), uuidV4);
    assert.match(await bob.id(), uuidV4);
    assert.notEqual(await alice.id(), await bob.id());
  },

  async 'the address names the recipient'() {
    assert.equal(await bob.page.getByLabel('Recipient’s id').inputValue(), await alice.id());
  },

  async 'two people chat both ways, and one click answers'() {
    await bob.writes(await alice.id(), greeting);
    await bob.sees('.sent .state', 'Accepted');
    await alice.sees('.received p', greeting);
    await alice.page.getByRole('button', { name: 'Answer' }).first().click();
    assert.equal(await alice.page.getByLabel('Recipient’s id').inputValue(), await bob.id());
    await alice.page.getByRole('textbox', { name: 'Message' }).fill('Good morning, Bob.\nTwo lines.');
    await alice.page.keyboard.press('Control+Enter');
    await alice.sees('.sent .state', 'Accepted');
    await bob.sees('.received p', 'Two lines.');
  },

  async 'a refused message shows what the server says'() {
    await alice.writes('bob', 'Does this reach you?');
    await alice.sees('.sent .state', 'Failed');
    await alice.sees('.sent .state', 'EINVAL');
  },

  async 'a text that looks like HTML is shown as text'() {
    await bob.writes(await alice.id(), hostile);
    await alice.sees('.received p', hostile);
    assert.equal(await alice.page.locator('li img, li script, li b').count(), 0);
  },

  async 'a message that is too long says so'() {
    await bob.writes(await alice.id(), 'm'.repeat(300_000));
    await bob.sees('.sent .state', 'too long');
    await bob.sees('#notice', 'new id');
  },

  async 'the page comes back after the server was away, and says that its id is new'() {
    const before = await alice.id();
    await node.stop();
    await alice.sees('#state', 'Disconnected');
    assert.equal(await alice.page.getByRole('button', { name: 'Send' }).isDisabled(), true);
    await alice.photographed('disconnected');
    node = await Node.start(port);
    await alice.sees('#state', 'Connected');
    await alice.sees('#notice', 'new id');
    assert.notEqual(await alice.id(), before);
    await bob.sees('#state', 'Connected');
    await bob.writes(await alice.id(), 'Found you again.');
    await alice.sees('.received p', 'Found you again.');
  },

  async 'it fits a phone'() {
    const phone = await Person.arrive(browser, { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
    await bob.writes(await phone.id(), 'A_word_that_is_far_too_long_for_a_phone_' + 'x'.repeat(80));
    await phone.sees('.received p', 'A_word');
    assert.equal(await phone.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
    await alice.photographed('desktop-light');
    await bob.photographed('desktop-dark');
    await phone.photographed('phone');
    assert.deepEqual(phone.complaints, []);
  },

  async 'no page broke its policy or a script'() {
    assert.deepEqual([...alice.complaints, ...bob.complaints], []);
  },
};

process.once('SIGTERM', () => process.exit(1));
const log = createWriteStream(`${output}/texto.log`);
const port = await freePort();
const address = `http://127.0.0.1:${port}`;
let node = await Node.start(port);
const browser = await chromium.launch(launchOptions);
let passed = 0;
let failed = 0;
for (const [claim, check] of Object.entries(claims)) {
  try {
    await check();
    console.log(`ok ${claim}`);
    passed++;
  } catch (error) {
    console.log(`FAILED ${claim}\n${error.stack}`);
    failed++;
  }
}
await browser.close();
await node.stop();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
