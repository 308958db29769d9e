// What the tests in this folder share: nodes that are started and stopped, people in front of pages, and claims that are checked.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

export const [binary, output] = process.argv.slice(2);
export const patience = 15_000; // milliseconds
export const uuidV4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export { sleep };

const log = createWriteStream(`${output}/nodes.log`, { flags: 'a' });
process.once('SIGTERM', () => process.exit(1));

export async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

export async function eventually(claim, isSo) {
  for (const end = Date.now() + patience; ; await sleep(10)) {
    if (await isSo()) return;
    assert.ok(Date.now() < end, `never so: ${claim}`);
  }
}

/** A node on a port of its own, with default settings but for `variables`; it drains at once. */
export class Node {
  static async start(variables = {}, port) {
    const node = new Node();
    node.port = port ?? (await freePort());
    const { REDIS_URL, ...environment } = process.env;
    const own = { HOST: '127.0.0.1', PORT: String(node.port), TEXTO_ADMIN_ADDRESS: 'off', TEXTO_DRAIN_TIME: '0s', ...variables };
    node.variables = variables;
    node.process = spawn(binary, { env: { ...environment, ...own }, stdio: ['ignore', 'ignore', 'pipe'] });
    // However this program ends, it leaves no node behind.
    process.once('exit', () => node.process.kill('SIGKILL'));
    const lines = createInterface({ input: node.process.stderr });
    await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        log.write(line + '\n');
        if (line.includes('listens on')) resolve();
      });
      node.process.once('exit', (code) => reject(new Error(`the node ended with ${code} before it listened`)));
      node.process.once('error', reject);
    });
    return node;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/v1/texto`;
  }

  get address() {
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(signal = 'SIGTERM') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, 'exit');
    this.process.kill(signal);
    await ended;
  }

  /** A new node where this one was. */
  again() {
    return Node.start(this.variables, this.port);
  }
}

export const openBrowser = () => chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});

export const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** Somebody in front of a page of the browser client. */
export class Person {
  static async arrive(browser, address, options = {}, hash = '') {
    const person = new Person();
    person.context = await browser.newContext({ viewport: { width: 1200, height: 760 }, ...options });
    person.complaints = [];
    person.page = await person.context.newPage();
    person.page.setDefaultTimeout(patience);
    person.page.on('pageerror', (error) => person.complaints.push(String(error)));
    person.page.on('dialog', (dialog) => { person.complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    // A lost connection is logged by the browser itself, and is no fault of the page.
    person.page.on('console', (line) => line.type() === 'error' && !/WebSocket|net::ERR/.test(line.text()) && person.complaints.push(line.text()));
    person.response = await person.page.goto(`${address}/${hash}`);
    await person.sees('#state', 'Online');
    return person;
  }

  at = (place) => this.page.locator(place);
  sees = (place, text) => this.at(place).filter({ hasText: text }).first().waitFor();
  id = () => this.at('#me').textContent();
  press = (...keys) => keys.reduce((before, key) => before.then(() => this.page.keyboard.press(key)), Promise.resolve());
  focused = () => this.page.evaluate(() => document.activeElement.id || document.activeElement.textContent);

  /** The texts of the messages in the page, the oldest first. */
  texts = () => this.at('#messages .bubble p').allTextContents();

  async writes(text) {
    await this.at('#text').fill(text);
    await this.press('Enter');
  }

  /** Opens the conversation with somebody, by the address as a link does. */
  async turnsTo(id) {
    await this.page.evaluate((hash) => { location.hash = hash; }, `to=${id}`);
    await this.sees('#with-id', id);
  }

  /** No violation of the rules of accessibility that axe knows, as the page is now. */
  async audited(what) {
    await this.page.evaluate(axe.source);
    const { violations } = await this.page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('\n')}`);
    assert.deepEqual(found, [], what);
  }
}

/** Checks claims in their order, and says how many hold: `N passed, M failed`. */
export async function check(about, claims) {
  let failed = 0;
  for (const [claim, holds] of Object.entries(claims)) {
    try {
      await holds();
      console.log(`ok ${about}: ${claim}`);
    } catch (error) {
      failed++;
      console.log(`FAILED ${about}: ${claim}\n${error.stack}`);
    }
  }
  console.log(`${Object.keys(claims).length - failed} passed, ${failed} failed`);
  return failed;
}
