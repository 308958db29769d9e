// Makes the screenshots that README.md shows: screenshots.mjs BINARY OUTPUT_DIRECTORY
//
// On request alone, since ids and times differ in every run. The browser itself packs
// them as WebP, in docs/images/.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { Node, Person, openBrowser, phone } from './support.mjs';

const directory = new URL('../../docs/images/', import.meta.url);
const bytesMax = 60_000;
const node = await Node.start();
const browser = await openBrowser();
const arrive = (options, hash) => Person.arrive(browser, node.address, { locale: 'en-GB', ...options }, hash);

async function photograph(person, name) {
  // Without a caret or a mouse, and after the last frame.
  await person.page.mouse.move(0, 0);
  await person.page.evaluate(() => { document.activeElement.blur(); return new Promise((resolve) => setTimeout(resolve, 300)); });
  const session = await person.context.newCDPSession(person.page);
  const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality: 82 });
  const bytes = Buffer.from(data, 'base64');
  assert.ok(bytes.length < bytesMax, `${name} has ${bytes.length} bytes`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(new URL(`${name}.webp`, directory), bytes);
  console.log(`docs/images/${name}.webp: ${bytes.length} bytes`);
}

async function names(person, id, name) {
  await person.turnsTo(id);
  await person.at('#rename').click();
  await person.at('#person-name').fill(name);
  await person.press('Enter');
  await person.sees('#with', name);
}

const ada = await arrive({});
const adasId = await ada.id();
const grace = await arrive({ colorScheme: 'dark' }, `#to=${adasId}`);
const others = [['Edsger', 'The train is late. I walk.'], ['Radia', 'Spanning tree fixed, all loops are gone 🎉'], ['Karen', 'See you at the library at six?']];
const people = [];
for (const [name, words] of others) {
  const person = await arrive({ ...phone }, `#to=${adasId}`);
  await person.writes(words);
  people.push([person, name, await person.id()]);
}
await names(grace, adasId, 'Ada');
await names(ada, await grace.id(), 'Grace');
for (const [, name, id] of people) await names(ada, id, name);
await ada.turnsTo(await grace.id());
for (const [person, words] of [
  [grace, 'Good morning, Ada! Did the compiler like your program?'],
  [ada, 'At the third try 😅'],
  [ada, 'It was a moth again. I have taped it into the log book.'],
  [grace, '👏'],
  [grace, 'Keep it. Somebody will want to see it one day.\nThe rule for closing is in section 7 by the way: https://www.rfc-editor.org/rfc/rfc6455.html#section-7'],
  [ada, 'I read it on the way. Lunch at noon?'],
  [grace, 'With pleasure. I bring the nanoseconds.'],
]) await person.writes(words);
await ada.sees('.bubble p', 'nanoseconds');
await grace.sees('.mine .state', 'Accepted');
const [, [radia, , radiasId], [karen]] = people;
await radia.writes('Come and have a look!');
await karen.writes('I keep you a seat by the window.');
await karen.writes('Bring the book.');
await ada.sees('#list .badge', '2');
await photograph(ada, 'desktop-light');
await grace.at('#invite').click();
await photograph(grace, 'desktop-dark');

const pocket = await arrive({ ...phone, colorScheme: 'light' }, `#to=${radiasId}`);
await names(pocket, radiasId, 'Radia');
await names(radia, await pocket.id(), 'Barbara');
for (const [person, words] of [
  [pocket, 'Are you still at the office?'],
  [radia, 'Yes, until the last packet has found its way.'],
  [pocket, 'Then I come by with cake 🍰'],
  [radia, 'You are the best substitution.'],
]) await person.writes(words);
await pocket.sees('.bubble p', 'substitution');
await photograph(pocket, 'phone');
await browser.close();
await node.stop();
