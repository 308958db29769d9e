// The browser client in a real browser, served by a real node: chat.mjs BINARY OUTPUT_DIRECTORY
//
// Claims are checked in the order below, since each goes on from the pages that the one before it left.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import jsQR from 'jsqr';
import { PNG } from 'pngjs';
import { Node, Person, check, eventually, openBrowser, phone, sleep, uuidV4 } from './support.mjs';

const nobody = '6f9619ff-8b86-4011-b42d-00cf4fc964ff';
const hostile = [
  '<img src=x onerror="alert(1)"><script>alert(2)</script><b>bold</b>',
  '"><svg onload=alert(3)>',
  'javascript:alert(4) data:text/html,<script>alert(5)</script> https://good.example/"onmouseover="alert(6)',
  '${alert(7)} {{alert(8)}} <style>*{display:none}</style> &lt;i&gt; \u0000\u0001\u001b[31m \u202eevil',
  '</p></li></ol><dialog open>',
];

let node = await Node.start();
const browser = await openBrowser();
const arrive = (options, hash) => Person.arrive(browser, node.address, options, hash);
let alice, bob, carol;

/** What a Content-Security-Policy has to say to allow an inline element of this name. */
function hashOf(element, page) {
  const [, content] = page.match(`<${element}(?: type="module")?>([^]*)</${element}>`);
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`;
}

async function decoded(person, place) {
  const { width, height, data } = PNG.sync.read(await person.at(place).screenshot());
  return jsQR(new Uint8ClampedArray(data), width, height)?.data;
}

const claims = {
  async 'the page comes with a policy that allows nothing foreign, and whoever has it need not load it again'() {
    alice = await arrive();
    const policy = (alice.response.headers()['content-security-policy'] ?? '').split('; ');
    const page = await alice.response.text();
    for (const part of ["default-src 'none'", `script-src 'self' ${hashOf('script', page)}`, `style-src ${hashOf('style', page)}`, "connect-src 'self'",
      "require-trusted-types-for 'script'", "trusted-types 'none'", "frame-ancestors 'none'"]) {
      assert(policy.includes(part), `the policy should have ${part}, but is ${policy}`);
    }
    const statuses = [];
    alice.page.on('response', (response) => statuses.push(response.status()));
    await alice.page.reload();
    await alice.sees('#state', 'Online');
    for (const path of ['', 'texto.js']) {
      const first = await fetch(`${node.address}/${path}`);
      const again = await fetch(`${node.address}/${path}`, { headers: { 'If-None-Match': first.headers.get('etag') } });
      assert.deepEqual([again.status, await again.text(), again.headers.get('cache-control')], [304, '', 'no-cache']);
    }
  },

  async 'the policy stops what a page must not do'() {
    const stopped = await alice.page.evaluate(() => {
      const tried = (act) => { try { act(); return 'done'; } catch { return 'stopped'; } };
      const frame = document.createElement('script');
      return [tried(() => { document.body.innerHTML += '<b>x</b>'; }), tried(() => { frame.text = 'window.bad = 1'; document.body.append(frame); }), String(window.bad)];
    });
    assert.deepEqual(stopped, ['stopped', 'stopped', 'undefined']);
    // The attempts are logged; they were the test's own.
    alice.complaints.length = 0;
  },

  async 'each page shows an id of its own, an invitation, and a QR code that says the same'() {
    assert.match(await alice.id(), uuidV4);
    await alice.at('#invite').click();
    const link = await alice.at('#link').inputValue();
    assert.equal(link, `${node.address}/#to=${await alice.id()}`);
    assert.equal(await decoded(alice, '#invitation-qr svg'), link);
    await alice.audited('the invitation');
    await alice.press('Escape');
    assert.equal(await decoded(alice, '#welcome-qr svg'), link);
  },

  async 'copy puts the id and the link on the clipboard'() {
    await alice.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    const clipboard = () => alice.page.evaluate(() => navigator.clipboard.readText());
    await alice.at('#copy').click();
    await alice.sees('#copy', 'Copied');
    assert.equal(await clipboard(), await alice.id());
    await alice.at('#invite').click();
    await alice.page.getByRole('button', { name: 'Copy link' }).click();
    await alice.sees('#invitation', 'Copied');
    assert.equal(await clipboard(), `${node.address}/#to=${await alice.id()}`);
    await alice.page.getByRole('button', { name: 'Close' }).click();
    await alice.sees('#copy', 'Copy id');
  },

  async 'the invitation link starts the conversation, and both directions work'() {
    bob = await arrive({ colorScheme: 'dark' }, `#to=${await alice.id()}`);
    assert.equal(await bob.at('#with-id').textContent(), await alice.id());
    assert.equal(await bob.focused(), 'text');
    await bob.writes('Good morning, Alice! 早上好 🚀');
    await bob.sees('.mine .state', 'Accepted');
    await alice.sees('#list .badge', '1');
    assert.equal(await alice.page.title(), '(1) Texto');
    await alice.at('#list button').click();
    await alice.sees('.bubble p', 'Good morning, Alice! 早上好 🚀');
    await eventually('it counts as read', async () => await alice.page.title() === 'Texto' && !await alice.at('#list .badge').isVisible());
    await alice.at('#text').fill('Good morning, Bob.');
    await alice.press('Shift+Enter');
    await alice.page.keyboard.type('Two lines.');
    await alice.press('Enter');
    await bob.sees('.bubble p', 'Good morning, Bob.\nTwo lines.');
    assert.equal(await alice.at('#text').inputValue(), '');
  },

  async 'a third one is told apart, and named; names, and nothing else, are kept'() {
    carol = await arrive({ ...phone }, `#to=${await alice.id()}`);
    await carol.writes('Carol is here.');
    await alice.sees('#list button', 'Carol is here.');
    assert.equal(await alice.at('#list li').count(), 2);
    await alice.turnsTo(await bob.id());
    await alice.at('#rename').click();
    await alice.audited('the name');
    await alice.at('#person-name').fill('Bob <b>');
    await alice.press('Enter');
    await alice.sees('#with', 'Bob <b>');
    assert.deepEqual(await alice.page.evaluate(() => Object.entries(localStorage)), [[`texto:name:${await bob.id()}`, 'Bob <b>']]);
    assert.deepEqual(await alice.page.evaluate(async () => [document.cookie, sessionStorage.length, (await indexedDB.databases()).length, (await caches.keys()).length]), ['', 0, 0, 0]);
  },

  async 'search finds names and words, and opens what it found'() {
    await alice.at('#search').fill('carol IS');
    await eventually('one is left', async () => await alice.at('#list li').count() === 1);
    await alice.press('Enter');
    await alice.sees('.found', 'Carol is here.');
    assert.equal(await alice.at('#text').inputValue(), '');
    await alice.at('#search').fill('bob <');
    await alice.sees('#list button', 'Bob <b>');
    await alice.at('#search').fill('nothing like it');
    await alice.sees('#none', 'Nothing found');
    await alice.at('#search').press('Escape');
    await eventually('all are back', async () => await alice.at('#list li').count() === 2);
  },

  async 'what looks like HTML or script is shown as the text that it is'() {
    await bob.turnsTo(await alice.id());
    await alice.turnsTo(await bob.id());
    for (const text of hostile) await bob.writes(text);
    await eventually('all have come', async () => (await alice.texts()).length === 2 + hostile.length);
    assert.deepEqual((await alice.texts()).slice(-hostile.length), hostile);
    assert.equal(await alice.at('#messages :is(img, script, b, svg[onload], style, i)').count(), 0);
    const links = await alice.at('#messages a').evaluateAll((all) => all.map(({ href, rel, target }) => [href, rel, target]));
    assert.deepEqual(links, [['https://good.example/', 'noopener noreferrer', '_blank']]);
    for (const person of [alice, bob]) assert.deepEqual(person.complaints, []);
  },

  async 'links end where the address does'() {
    const row = 'see (https://a.example/x?y=1&z=2#f), http://b.example/wiki_(disambiguation). HTTPS://c.example! ftp://d.example https:// mailto:e@f http://[bad';
    await bob.writes(row);
    await alice.sees('.bubble p', row);
    const hrefs = await alice.at('#messages li:last-child a').evaluateAll((all) => all.map((link) => link.textContent));
    assert.deepEqual(hrefs, ['https://a.example/x?y=1&z=2#f', 'http://b.example/wiki_(disambiguation)', 'HTTPS://c.example']);
  },

  async 'right-to-left, long and emoji texts are right'() {
    await bob.writes('שלום עולם');
    await bob.writes('🎉');
    await bob.writes('word '.repeat(1000));
    await alice.sees('.bubble p.clipped', 'word');
    const rows = await alice.at('#messages li').evaluateAll((all) => all.slice(-3).map((item) => {
      const words = item.querySelector('p');
      const range = document.createRange();
      range.selectNodeContents(words);
      return [words.className, Math.round(words.getBoundingClientRect().right - range.getBoundingClientRect().right) === 0];
    }));
    assert.deepEqual(rows.map(([name]) => name), ['', 'large', 'clipped']);
    assert.equal(rows[0][1], true, 'Hebrew stands at the right');
    const height = () => alice.at('#messages li:last-child').evaluate((item) => item.offsetHeight);
    const before = await height();
    await alice.page.getByRole('button', { name: 'Show all' }).last().click();
    assert(await height() > 2 * before);
  },

  async 'days are told apart'() {
    await alice.page.clock.install();
    await alice.page.clock.fastForward('24:00:00');
    await bob.writes('A day later.');
    await alice.sees('.bubble p', 'A day later.');
    assert.deepEqual(await alice.at('.day').allTextContents(), ['Yesterday', 'Today']);
  },

  async 'a refused message shows what the server says, and can be tried again'() {
    // Nothing a user can type is refused by a node that stands alone: so one that allows little.
    const strict = await Node.start({ TEXTO_MESSAGE_RATE: '1' });
    const dave = await Person.arrive(browser, strict.address, {}, `#to=${nobody}`);
    for (let time = 0; time < 3; time++) await dave.writes(`once more ${time}`);
    await dave.sees('.why', /Not sent: .*\(ERATE\)/);
    await dave.audited('a failure');
    assert.equal(await dave.at('.mine .state').filter({ hasText: 'Failed' }).count() >= 1, true);
    await eventually('all are accepted in the end', async () => {
      // After the rate's second, in which the retry before this one has been answered and its button has gone, or come back.
      await sleep(1100);
      const again = dave.page.getByRole('button', { name: 'Try again' });
      if (await again.count() === 0) return true;
      await again.first().click();
      return false;
    });
    await eventually('so it says', async () => (await dave.at('.mine .state').allTextContents()).every((words) => words === 'Accepted'));
    assert.deepEqual(await dave.texts(), ['once more 0', 'once more 1', 'once more 2']);
    await dave.context.close();
    await strict.stop();
  },

  async 'a message that is too long says so, and the new id is told'() {
    const before = await carol.id();
    await carol.writes('m'.repeat(300_000));
    await carol.sees('.why', /longer than this server takes/);
    await carol.sees('#state', /Back in \d+ s/);
    await carol.at('#now').click();
    await carol.sees('#state', 'Online');
    await carol.sees('.note', 'new id');
    assert.notEqual(await carol.id(), before);
  },

  async 'drafts survive a reload'() {
    await alice.turnsTo(await bob.id());
    await alice.at('#text').fill('not yet\nfinished');
    await alice.page.reload();
    await alice.sees('#state', 'Online');
    assert.equal(await alice.at('#text').inputValue(), 'not yet\nfinished');
    assert.equal(await alice.at('#with').textContent(), 'Bob <b>');
    await alice.press('Escape');
    await alice.sees('#list button', 'Draft: not yet');
    await alice.turnsTo(await bob.id());
    await alice.press('Enter');
    await bob.sees('#list button', 'not yet');
    assert.deepEqual(await alice.page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes('draft'))), []);
  },

  async 'a server that stops and comes back: the state says so, what was written meanwhile goes out, the new id is told'() {
    await bob.turnsTo(await alice.id());
    const before = await alice.id();
    await node.stop();
    await alice.sees('#state', /Back in \d+ s|Connecting/);
    await alice.audited('disconnected');
    await alice.writes('written while offline');
    await alice.sees('.mine .state', 'Waits for a connection');
    await alice.sees('#state', '1 waiting');
    node = await node.again();
    await alice.sees('#state', 'Online');
    await alice.sees('#notice', 'new id');
    await alice.sees('.note', 'new id');
    await alice.audited('reconnected');
    assert.notEqual(await alice.id(), before);
    await eventually('it has gone out', async () => (await alice.at('.mine .state').allTextContents()).every((words) => words === 'Accepted'));
    await alice.page.getByRole('button', { name: 'Got it' }).click();
    assert.equal(await alice.at('#notice').isVisible(), false);
    await bob.sees('#state', 'Online');
    await bob.turnsTo(await alice.id());
    await bob.writes('Found you again.');
    await alice.sees('#list button', 'Found you again.');
  },

  async 'a node that drains moves its pages within the spread, and they come back by themselves'() {
    const draining = await Node.start({ TEXTO_DRAIN_TIME: '1s' });
    const pages = await Promise.all([1, 2, 3].map(() => Person.arrive(browser, draining.address)));
    await draining.stop();
    for (const page of pages) await page.sees('#state', /Back in \d+ s|Connecting/);
    const next = await draining.again();
    for (const page of pages) await page.sees('#state', 'Online');
    for (const page of pages) await page.context.close();
    await next.stop();
  },

  async 'a browser without a network says offline, and comes back at once with it'() {
    await bob.context.setOffline(true);
    await node.stop();
    await bob.sees('#state', 'Offline');
    node = await node.again();
    await bob.context.setOffline(false);
    await bob.sees('#state', 'Online');
    await carol.sees('#state', 'Online');
    await alice.sees('#state', 'Online');
  },

  async 'keys are enough: naming, opening, writing, moving, leaving'() {
    const erin = await arrive({}, '');
    await bob.turnsTo(await erin.id());
    await bob.writes('Can you hear me?');
    await erin.sees('#list .badge', '1');
    for (let tab = 0; tab < 20 && await erin.focused() !== 'search'; tab++) await erin.press('Tab');
    assert.equal(await erin.focused(), 'search', 'Tab leads to the search');
    await erin.press('ArrowDown', 'Enter');
    assert.equal(await erin.focused(), 'text');
    await erin.page.keyboard.type('Loud and clear.');
    await erin.press('Enter');
    await bob.sees('.bubble p', 'Loud and clear.');
    await erin.press('Shift+Tab');
    assert.equal(await erin.focused(), 'log', 'so that arrows scroll it');
    await erin.press('Shift+Tab', 'Enter');
    await erin.page.keyboard.type('Bob');
    await erin.press('Enter');
    await erin.sees('#with', 'Bob');
    await erin.press('Escape');
    assert.match(await erin.focused(), /^BBob/);
    await erin.press('Shift+Tab', 'Enter');
    await erin.page.keyboard.type('no id');
    await erin.press('Enter');
    await erin.sees('#person-wrong', '36 characters');
    await erin.audited('a wrong id');
    await erin.press('Control+A');
    await erin.page.keyboard.type(`  ${node.address}/#to=${nobody.toUpperCase()} `);
    await erin.press('Enter');
    await erin.sees('#with-id', nobody);
    await erin.press('Alt+ArrowUp');
    await erin.sees('#with', 'Bob');
    await erin.press('Alt+ArrowDown');
    await erin.sees('#with-id', nobody);
    await erin.press('Escape');
    assert.match(await erin.focused(), /^6f/);
    assert.equal(await erin.at('#talk').isVisible(), false);
    for (const [key, place] of [['ArrowUp', /^BBob/], ['End', /^6f/], ['ArrowDown', /^6f/], ['Home', /^BBob/], ['ArrowUp', /^search$/]]) {
      await erin.press(key);
      assert.match(await erin.focused(), place, key);
    }
    await erin.context.close();
  },

  async 'a conversation can be removed, and all that was kept forgotten'() {
    await alice.turnsTo(nobody);
    await alice.at('#rename').click();
    await alice.at('#person-name').fill('Nobody');
    await alice.press('Enter');
    await alice.at('#rename').click();
    await alice.page.getByRole('button', { name: 'Remove', exact: true }).click();
    await eventually('it is gone', async () => await alice.at('#list button').filter({ hasText: 'Nobody' }).count() === 0);
    await alice.at('#more').click();
    await alice.audited('the settings');
    await alice.page.getByRole('button', { name: 'Forget names and drafts' }).click();
    await alice.page.getByRole('button', { name: 'Done' }).click();
    assert.equal(await alice.page.evaluate(() => localStorage.length), 0);
  },

  async 'a wrong link says so'() {
    await alice.page.evaluate(() => { location.hash = 'to=bob'; });
    await alice.sees('#notice', 'no valid id');
  },

  async 'notifications come in the background, if the user wants them, with the text as text'() {
    const frank = await arrive({ permissions: ['notifications'] });
    await frank.page.evaluate(() => {
      window.shown = [];
      window.Notification = class { static permission = 'granted'; static requestPermission = async () => 'granted'; constructor(title, { body }) { window.shown.push(body); } };
      document.hasFocus = () => false;
    });
    await bob.turnsTo(await frank.id());
    await bob.writes('unasked');
    await frank.sees('#list .badge', '1');
    await frank.at('#more').click();
    await frank.at('#notify').check();
    await frank.page.getByRole('button', { name: 'Done' }).click();
    await bob.writes('<b>asked</b>');
    await frank.sees('#list .badge', '2');
    assert.deepEqual(await frank.page.evaluate(() => window.shown), ['<b>asked</b>']);
    await frank.context.close();
  },

  async 'a screen reader hears what comes'() {
    const grace = await arrive();
    await bob.turnsTo(await grace.id());
    await bob.writes('Listen.');
    await grace.sees('#announcer', /New message from/);
    await grace.turnsTo(await bob.id());
    await bob.writes('Closer.');
    await grace.sees('#announcer', 'Closer.');
    await grace.context.close();
  },

  async 'it fits a phone, a tablet and a desktop, in light and in dark, and axe finds nothing'() {
    const views = [['phone', { ...phone }], ['small phone', { ...phone, viewport: { width: 320, height: 568 } }], ['tablet', { viewport: { width: 820, height: 1180 } }], ['desktop', {}]];
    for (const [name, options] of views) {
      for (const colorScheme of ['light', 'dark']) {
        const person = await arrive({ ...options, colorScheme });
        const fits = () => person.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight);
        await person.audited(`${name}, ${colorScheme}, empty`);
        assert.equal(await fits(), true, `${name}, empty`);
        await bob.turnsTo(await person.id());
        await bob.writes('A_word_that_is_far_too_long_for_a_phone_' + 'x'.repeat(80));
        await person.sees('#list button', 'A_word');
        await person.audited(`${name}, ${colorScheme}, list`);
        await person.at('#list button').click();
        await person.writes('Hello.');
        await person.sees('.mine .state', 'Accepted');
        await person.audited(`${name}, ${colorScheme}, conversation`);
        assert.equal(await fits(), true, `${name}, conversation`);
        await person.at('#state').waitFor();
        if (options.isMobile) {
          assert.equal(await person.at('#side').isVisible(), false);
          await person.at('#back').click();
          assert.equal(await person.at('#side').isVisible(), true);
        }
        assert.deepEqual(person.complaints, []);
        await person.context.close();
      }
    }
  },

  async 'no page broke its policy or a script'() {
    assert.deepEqual([...alice.complaints, ...bob.complaints, ...carol.complaints], []);
  },
};

const failed = await check('browser client', claims);
await browser.close();
await node.stop();
process.exit(failed === 0 ? 0 : 1);
