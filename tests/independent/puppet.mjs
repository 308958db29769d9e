// The npm library `ws` on strings: does what it is told on standard input, one JSON object a line, and answers each with one line.
// The same words as puppet.py. Connections have names, so one puppet plays several clients.

import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const silence = { silence: true };
const connections = new Map();

class Connection {
  #events = [];
  #waiting = null;

  constructor(socket) {
    this.socket = socket;
    socket.on('message', (bytes, isBinary) => this.#happened(isBinary ? { binary: bytes.toString('hex') } : { text: bytes.toString() }));
    socket.on('pong', (payload) => this.#happened({ pong: payload.toString() }));
    socket.on('close', (code) => this.#happened({ closed: code }));
    // `close` follows, and says all that is asked for.
    socket.on('error', () => {});
  }

  #happened(event) {
    if (this.#waiting) this.#waiting(event);
    else this.#events.push(event);
  }

  next(milliseconds) {
    if (this.#events.length > 0) return Promise.resolve(this.#events.shift());
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#waiting(silence), milliseconds);
      this.#waiting = (event) => {
        clearTimeout(timer);
        this.#waiting = null;
        resolve(event);
      };
    });
  }
}

const actions = {
  open({ name, url }) {
    return new Promise((resolve) => {
      const socket = new WebSocket(url);
      const connection = new Connection(socket);
      connections.set(name, connection);
      socket.once('open', () => resolve({ opened: socket.extensions }));
      socket.once('error', (error) => resolve({ refused: error.message }));
    });
  },
  text: ({ text }, { socket }) => void socket.send(text),
  binary: ({ hex }, { socket }) => void socket.send(Buffer.from(hex, 'hex')),
  ping: ({ payload }, { socket }) => void socket.ping(payload),
  close: ({ code }, { socket }) => void socket.close(code),
  read: ({ milliseconds }, connection) => connection.next(milliseconds),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const answer = await actions[request.do](request, connections.get(request.name));
  process.stdout.write(JSON.stringify(answer ?? {}) + '\n');
}
process.exit(0);
