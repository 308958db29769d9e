// What the browser client weighs and takes, and ten thousand messages in one conversation: figures.mjs BINARY OUTPUT_DIRECTORY
//
// Figures are printed and not judged, for they say as much about the machine; what is checked is that the page holds no more of a
// conversation than one can look at, and loses nothing of it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { Texto } from '../../client/texto.js';
import { Node, Person, check, eventually, openBrowser } from './support.mjs';

const many = 10_000;
const node = await Node.start();
const browser = await openBrowser();
const texto = new Texto(node.url, { WebSocket, queueMax: many });
let alice;

const tell = (what, figure) => console.log(`figure: ${what}: ${figure}`);
const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(1);

/** The times between frames while something happens. */
async function framesDuring(person, what, act) {
  await person.page.evaluate(() => {
    window.frames_ = [];
    let last = performance.now();
    const next = (now) => {
      window.frames_?.push(now - last);
      last = now;
      if (window.frames_) requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  const begun = performance.now();
  await act();
  const frames = await person.page.evaluate(() => { const found = window.frames_.slice(1); window.frames_ = null; return found; });
  frames.sort((a, b) => a - b);
  tell(what, `${frames.length} frames in ${((performance.now() - begun) / 1000).toFixed(1)} s, median ${at(frames, 0.5)} ms, 95 % within ${at(frames, 0.95)} ms, longest ${at(frames, 1)} ms`);
}

async function heap(person) {
  const session = await person.context.newCDPSession(person.page);
  await session.send('HeapProfiler.collectGarbage');
  await session.send('Performance.enable');
  const { metrics } = await session.send('Performance.getMetrics');
  const of = (name) => metrics.find((metric) => metric.name === name).value;
  return `${(of('JSHeapUsedSize') / 1e6).toFixed(1)} MB of JavaScript, ${of('Nodes')} nodes`;
}

const claims = {
  async 'both files are served as they are'() {
    const [page, library] = ['index.html', 'texto.js'].map((name) => readFileSync(new URL(`../../client/${name}`, import.meta.url)).length);
    tell('weight, uncompressed', `index.html ${page} bytes, texto.js ${library} bytes, together ${page + library} bytes`);
    for (const [path, weight] of [['', page], ['texto.js', library]]) {
      const body = await (await fetch(`${node.address}/${path}`)).arrayBuffer();
      assert.equal(body.byteLength, weight);
    }
  },

  async 'a page is online soon after it is opened'() {
    const times = [];
    for (let time = 0; time < 10; time++) {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.addInitScript(() => {
        new MutationObserver((_, observer) => {
          if (document.querySelector('#state[data-state=online]')) {
            window.online = performance.now();
            observer.disconnect();
          }
        }).observe(document, { subtree: true, childList: true, attributes: true });
      });
      await page.goto(node.address);
      await page.waitForFunction(() => window.online);
      times.push(await page.evaluate(() => window.online));
      await context.close();
    }
    times.sort((a, b) => a - b);
    tell('from opening the page to online, ten fresh browsers', `median ${at(times, 0.5)} ms, longest ${at(times, 1)} ms`);
  },

  async 'ten thousand messages arrive in order, and the page holds a few hundred'() {
    alice = await Person.arrive(browser, node.address, {}, '');
    await eventually('the other is online', () => texto.id);
    await alice.turnsTo(texto.id);
    tell('heap before', await heap(alice));
    await framesDuring(alice, `while ${many} messages arrive`, async () => {
      const to = await alice.id();
      await Promise.all(Array.from({ length: many }, (_, number) => texto.send(to, `message ${number}, with some words to it that are as long as people's mostly are`)));
      await alice.sees('#messages li:last-child', `message ${many - 1},`);
    });
    tell('heap with all of them', await heap(alice));
    assert.ok(await alice.at('#messages li').count() <= 300);
    const numbers = (await alice.texts()).map((text) => parseInt(text.split(' ')[1], 10));
    assert.deepEqual(numbers, numbers.map((_, index) => many - numbers.length + index));
    assert.equal(await alice.page.title(), 'Texto', 'all of them were in sight');
  },

  async 'every one of them can be scrolled to, there and back'() {
    const state = () => alice.at('#messages').evaluate((list) => {
      const number = (item) => parseInt(item.querySelector('.bubble p').textContent.split(' ')[1], 10);
      return { first: number(list.firstElementChild), last: number(list.lastElementChild), items: list.childElementCount, days: list.querySelectorAll('.day').length };
    });
    /** Some screens at a time; what the page then holds is noted. */
    const scroll = (direction) => alice.page.evaluate(async (direction) => {
      const log = document.getElementById('log');
      const found = new Set();
      for (let still = 0, before = -1; still < 3; ) {
        for (const words of log.querySelectorAll('.bubble p')) found.add(parseInt(words.textContent.split(' ')[1], 10));
        log.scrollTop += direction * log.clientHeight * 10;
        await new Promise(requestAnimationFrame);
        still = log.scrollTop === before ? still + 1 : 0;
        before = log.scrollTop;
      }
      return found.size;
    }, direction);
    await framesDuring(alice, 'while scrolling to the first message, ten screens a frame', async () => assert.equal(await scroll(-1), many));
    const top = await state();
    assert.deepEqual([top.first, top.days], [0, 1]);
    assert.ok(top.items <= 300);
    await framesDuring(alice, 'while scrolling to the last message, ten screens a frame', async () => assert.equal(await scroll(1), many));
    assert.equal((await state()).last, many - 1);
  },

  async 'who looks at what was is not torn away by what comes'() {
    await alice.at('#log').evaluate((log) => { log.scrollTop -= 5000; });
    await eventually('it counts as away', () => alice.at('#newer').isVisible());
    const place = () => alice.at('#log').evaluate((log) => log.scrollTop);
    const before = await place();
    await texto.send(await alice.id(), `message ${many}, later`);
    await alice.sees('#newer', '1 new');
    assert.equal(await place(), before);
    assert.equal(await alice.page.title(), '(1) Texto');
    await alice.at('#newer').click();
    await alice.sees('#messages li:last-child', 'later');
    await eventually('it counts as read', async () => await alice.page.title() === 'Texto');
  },

  async 'writing, searching and changing conversations stay quick among them'() {
    await framesDuring(alice, 'while writing ten messages', async () => {
      for (let time = 0; time < 10; time++) await alice.writes(`answer ${time}`);
      await eventually('all are accepted', async () => (await alice.at('.mine .state').allTextContents()).filter((words) => words === 'Accepted').length === 10);
    });
    await framesDuring(alice, 'while searching', async () => {
      await alice.at('#search').pressSequentially('message 4321,');
      await alice.sees('#list button', 'message 4321,');
    });
    await alice.press('Enter');
    await alice.sees('.found', 'message 4321,');
    await alice.at('#search').fill('');
    await alice.press('Escape');
    await framesDuring(alice, 'while leaving and opening the conversation', async () => {
      for (let time = 0; time < 10; time++) {
        await alice.turnsTo(texto.id);
        await alice.page.evaluate(() => document.getElementById('text').focus());
        await alice.press('Escape');
      }
    });
    assert.deepEqual(alice.complaints, []);
  },
};

const failed = await check('figures', claims);
texto.close();
await browser.close();
await node.stop();
process.exit(failed === 0 ? 0 : 1);
