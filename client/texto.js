/**
 * A client for Texto: one class, no dependencies, for browsers and for Node 20 or newer.
 *
 *     connecting ──greeted──▶ online          a lost connection is made anew after a wait that grows and is random,
 *         ▲  └──refused──┐      │ lost        or as its close code asks
 *         │              ▼      ▼
 *         └──────────── waiting       closed  by close(), or by a server that says no for good (4000-4999)
 *
 * Each send is settled once: by the server's `ack` or `error`, or by an error of the client's own. Nothing is ever sent twice.
 * Invariant: the id is known exactly while the state is online.
 */

/**
 * @typedef {{ name: 'connecting' }
 *   | { name: 'online', id: string, previous: string | null }
 *   | { name: 'waiting', until: number, code: number, reason: string }
 *   | { name: 'closed', code: number, reason: string }} TextoState
 * `previous` is the id of the connection before, which reaches you no longer; `until` is when the next attempt begins, as Date.now() counts.
 */

/**
 * @typedef {object} TextoEvents What `on` listens to, and what its listeners get.
 * @property {{ id: string, from: string, text: string }} message Somebody has written; `from` is the sender's id, `id` the message's.
 * @property {TextoState} state The state has changed.
 * @property {number} queue So many messages wait for a connection.
 * @property {TextoError} error The server complains about something that was no `send`, or (EPROTOCOL) cannot be understood.
 *
 * @typedef {{ resolve: () => void, reject: (error: TextoError) => void, size: number, timer: any }} Request
 * @typedef {Request & { to: string, text: string }} Waiting
 */

/** The settings and their defaults. All times are in milliseconds. */
const DEFAULTS = {
  /** For a new connection to be greeted by the server. */
  connectTimeout: 10_000,
  /** For the server to answer a message. */
  requestTimeout: 15_000,
  /** A message may wait for a connection. */
  queueTimeout: 300_000,
  /** Messages that may wait. Further ones are refused with EQUEUE. */
  queueMax: 1000,
  /** Characters that may wait in them together. */
  queueCharactersMax: 4_194_304,
  /** The longest first wait after a lost connection; it doubles with each failure. */
  backoffBase: 500,
  /** The longest wait of all. */
  backoffMax: 30_000,
  /** A server that stops moves its clients elsewhere; they come back within this time. */
  restartSpread: 5_000,
  /** From 0 up to, and without, 1. */
  random: Math.random,
};

/**
 * @typedef {Partial<typeof DEFAULTS> & { WebSocket?: new (url: string) => any }} TextoOptions
 * `WebSocket` is what to connect with where there is no global one: that of `ws` in Node 20.
 */

/** Messages on their way at one time; others wait in the queue, and no burst piles up unseen in the WebSocket. */
const IN_FLIGHT_MAX = 64;

/** A connection that lasted so long was a good one: the waits begin anew. A server that greets and hangs up is not hammered. */
const GOOD_AFTER = 10_000;

/** The least to wait after a close that was no accident: who went on as before would be closed again. */
const WAIT_AT_LEAST = new Map([
  [1002, 60_000], // a broken rule of WebSocket: the same code will break it again
  [1003, 60_000],
  [1007, 60_000],
  [1010, 60_000],
  [1008, 15_000], // too slow, or too much at a time
  [1009, 5_000], // a message was too long
  [1013, 10_000], // try again later
]);

/** After these a message may have reached its recipient in spite of all. */
const IN_DOUBT = ['ECLOSED', 'ETIMEOUT', 'EBROKER'];

/** Why a message was not sent, or not for certain. */
export class TextoError extends Error {
  /**
   * @param {string} code The server's, or ECLOSED (the connection ended before the answer), ETIMEOUT (no answer in time), EOFFLINE (no
   *   connection in time, or ever again), EQUEUE (too much is waiting), ETOOLONG (longer than this server takes).
   * @param {string} description A sentence to show to a user.
   */
  constructor(code, description) {
    super(`${code}: ${description}`);
    this.name = 'TextoError';
    this.code = code;
    this.description = description;
    /** Whether the message may have arrived all the same, so that sending it again may double it. */
    this.mayHaveArrived = IN_DOUBT.includes(code);
  }
}

/**
 * How long to wait after a close code and so many failures in a row, or null: for ever.
 *
 * @param {number} code
 * @param {number} failures
 * @param {typeof DEFAULTS} options
 */
export function waitAfter(code, failures, { backoffBase, backoffMax, restartSpread, random }) {
  if (code >= 4000) return null;
  // The whole wait is random, not a part of it: that spreads a crowd that lost its server in one instant best.
  if (code === 1012) return random() * restartSpread;
  return (WAIT_AT_LEAST.get(code) ?? 0) + random() * Math.min(backoffMax, backoffBase * 2 ** failures);
}

/** A UUID of version 4. crypto.randomUUID exists on https and localhost alone. */
function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** A connection to Texto that is made anew whenever it is lost. */
export class Texto {
  #url;
  #options;
  /** @type {TextoState} */
  #state = { name: 'closed', code: 1000, reason: '' };
  /** @type {{ [type: string]: Set<(detail: any) => void> }} */
  #listeners = { message: new Set(), state: new Set(), queue: new Set(), error: new Set() };
  /** @type {any} */
  #socket = null;
  /** @type {string | null} */
  #previous = null;
  /** @type {any} For the greeting or the next attempt. */
  #timer;
  #failures = 0;
  #onlineSince = 0;
  /** @type {Waiting[]} */
  #queue = [];
  #queueToldLast = 0;
  /** @type {Map<string, Request>} By the id of the request, the oldest first. */
  #pending = new Map();

  /**
   * Connects at once.
   *
   * @param {string} url `ws://` or `wss://`, and where the server has its WebSockets: `/v1/texto`.
   * @param {TextoOptions} [options]
   */
  constructor(url, options = {}) {
    this.#url = url;
    this.#options = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...options };
    if (!this.#options.WebSocket) throw new TypeError('there is no global WebSocket here: pass one as an option, such as that of ws');
    this.connect();
  }

  get state() {
    return this.#state;
  }

  /** The id under which others reach you, or null while there is no connection. Each connection has a new one. */
  get id() {
    return this.#state.name === 'online' ? this.#state.id : null;
  }

  /** How many messages wait for a connection, or for their turn. */
  get queued() {
    return this.#queue.length;
  }

  /**
   * Listens. What a listener throws is reported like all that nobody catches, and does not disturb the client.
   *
   * @template {keyof TextoEvents} T
   * @param {T} type
   * @param {(detail: TextoEvents[T]) => void} listener
   * @returns {() => void} Ends the listening.
   */
  on(type, listener) {
    const listeners = this.#listeners[type];
    if (!listeners) throw new TypeError(`there is no event ${type}`);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /**
   * Sends a message, or queues it until there is a connection.
   *
   * @param {string} to The id of the recipient.
   * @param {string} text
   * @returns {Promise<void>} Resolves when the server has handed it on; rejects with a {@link TextoError}.
   */
  send(to, text) {
    return new Promise((resolve, reject) => {
      const { queueMax, queueCharactersMax, queueTimeout } = this.#options;
      /** @type {(code: string, description: string) => void} */
      const refuse = (code, description) => reject(new TextoError(code, description));
      if (typeof to !== 'string' || typeof text !== 'string') return refuse('EINVAL', 'recipient and text have to be strings');
      if (this.#state.name === 'closed') return refuse('EOFFLINE', 'this client is closed');
      const characters = this.#queue.reduce((sum, { size }) => sum + size, text.length);
      if (this.#queue.length >= queueMax || characters > queueCharactersMax) return refuse('EQUEUE', 'too much is waiting to be sent already');
      /** @type {Waiting} */
      const message = { to, text, resolve, reject, size: text.length, timer: setTimeout(() => this.#giveUp(message), queueTimeout) };
      this.#queue.push(message);
      this.#flush();
    });
  }

  /**
   * Asks the server for a sign of life, and makes the connection anew if none comes in time. Worth a call when a device wakes up: a
   * WebSocket does not notice by itself that its network has gone.
   */
  check() {
    if (this.#state.name !== 'online') return;
    const nothing = () => {};
    this.#request('registration', null, { resolve: nothing, reject: nothing, size: 0, timer: null });
  }

  /** Connects now, also after close(). Does nothing where there is a connection or one is under way. */
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    // First of all: if it does not like the URL, it throws, and nothing has changed.
    const socket = (this.#socket = new this.#options.WebSocket(this.#url));
    socket.onmessage = (/** @type {any} */ { data }) => this.#receive(data);
    socket.onclose = (/** @type {any} */ { code, reason }) => this.#lost(code, reason);
    // A close follows each error; Node ends a process whose errors nobody listens to.
    socket.onerror = () => {};
    this.#timer = setTimeout(() => this.#lost(1006, 'the server did not greet in time'), this.#options.connectTimeout);
    // Node has no such event.
    globalThis.addEventListener?.('online', this.#networkIsBack);
    this.#become({ name: 'connecting' });
  }

  /** Closes for good: what waits is rejected, and no timer is left behind. */
  close() {
    if (this.#state.name !== 'closed') this.#end(1000, 'closed by this client');
  }

  #networkIsBack = () => {
    if (this.#state.name === 'online') this.check();
    // A wait that the server asked for stays.
    else if (this.#state.name === 'waiting' && this.#state.code === 1006) this.connect();
  };

  #become(/** @type {TextoState} */ state) {
    this.#state = state;
    this.#emit('state', state);
  }

  /**
   * @template {keyof TextoEvents} T
   * @param {T} type
   * @param {TextoEvents[T]} detail
   */
  #emit(type, detail) {
    for (const listener of [...this.#listeners[type]]) {
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  // --- the connection ---

  #receive(/** @type {any} */ json) {
    let id, kind, data;
    try {
      ({ id, kind, data } = JSON.parse(json));
    } catch {
      return this.#emit('error', new TextoError('EPROTOCOL', 'the server said something that is no message'));
    }
    if (kind === 'receive') this.#emit('message', { id, from: data.sender_id, text: data.text });
    else if (kind === 'ack') this.#settle(id);
    else if (kind === 'error') this.#settle(id, new TextoError(data.code, data.description));
    else if (kind === 'connection' && !this.#settle(id)) this.#welcome(data.client_id);
  }

  #welcome(/** @type {string} */ id) {
    clearTimeout(this.#timer);
    this.#onlineSince = Date.now();
    const previous = this.#previous;
    this.#previous = id;
    this.#become({ name: 'online', id, previous });
    this.#flush();
  }

  #lost(/** @type {number} */ code, /** @type {string} */ reason) {
    if (this.#state.name === 'online' && Date.now() - this.#onlineSince >= GOOD_AFTER) this.#failures = 0;
    const wait = waitAfter(code, this.#failures++, this.#options);
    if (wait === null) return this.#end(code, reason);
    this.#drop(code);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#become({ name: 'waiting', until: Date.now() + wait, code, reason });
  }

  #end(/** @type {number} */ code, /** @type {string} */ reason) {
    globalThis.removeEventListener?.('online', this.#networkIsBack);
    this.#failures = 0;
    this.#state = { name: 'closed', code, reason };
    this.#drop(code);
    for (const message of this.#queue.splice(0)) this.#reject(message, 'EOFFLINE', 'the client was closed before this could be sent');
    this.#tellQueue();
    this.#emit('state', this.#state);
  }

  /** Leaves the socket, whatever its state, and rejects what it owed answers for. */
  #drop(/** @type {number} */ code) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const unanswered = [...this.#pending.values()];
    this.#pending.clear();
    // The server closes for a message above its limit; if any of these was, then the longest.
    const tooLong = code === 1009 ? unanswered.reduce((longest, next) => (next.size > longest.size ? next : longest), unanswered[0]) : null;
    for (const request of unanswered) {
      if (request === tooLong) this.#reject(request, 'ETOOLONG', 'the message is longer than this server takes');
      else this.#reject(request, 'ECLOSED', 'the connection ended before the server answered');
    }
  }

  // --- requests ---

  #reject(/** @type {Request} */ request, /** @type {string} */ code, /** @type {string} */ description) {
    clearTimeout(request.timer);
    request.reject(new TextoError(code, description));
  }

  /** A message that has waited too long. */
  #giveUp(/** @type {Waiting} */ message) {
    this.#queue.splice(this.#queue.indexOf(message), 1);
    this.#reject(message, 'EOFFLINE', 'there was no connection for too long');
    this.#tellQueue();
  }

  #flush() {
    // On a socket that has begun to close nothing would arrive: it waits for the next one.
    while (this.id && this.#socket.readyState === 1 && this.#pending.size < IN_FLIGHT_MAX && this.#queue.length > 0) {
      const message = /** @type {Waiting} */ (this.#queue.shift());
      clearTimeout(message.timer);
      this.#request('send', { receiver_id: message.to, text: message.text }, message);
    }
    this.#tellQueue();
  }

  #tellQueue() {
    if (this.#queue.length === this.#queueToldLast) return;
    this.#queueToldLast = this.#queue.length;
    this.#emit('queue', this.#queueToldLast);
  }

  #request(/** @type {string} */ kind, /** @type {unknown} */ data, /** @type {Request} */ request) {
    const id = freshId();
    request.timer = setTimeout(() => {
      this.#pending.delete(id);
      this.#reject(request, 'ETIMEOUT', 'the server did not answer in time');
      // A server answers everything; one that does not is out of reach.
      this.#lost(1006, 'the server does not answer');
    }, this.#options.requestTimeout);
    this.#pending.set(id, request);
    this.#socket.send(JSON.stringify({ client_id: this.id, id, kind, data }));
  }

  /** Returns whether the answer belongs to a request. */
  #settle(/** @type {string} */ id, /** @type {TextoError | void} */ error) {
    const request = this.#pending.get(id);
    if (!request) {
      if (error) this.#emit('error', error);
      return false;
    }
    this.#pending.delete(id);
    clearTimeout(request.timer);
    if (error) request.reject(error);
    else request.resolve();
    this.#flush();
    return true;
  }
}
