'use strict';
// Texto's protocol on node and ws. Usage: node server.js HOST:PORT
//
// Fair on purpose: no compression, no list of clients beside the directory, answers built as strings around the parts that change. Left
// out: refused messages, pings on idle, limits on connections, metrics, Redis.

const { randomUUID } = require('node:crypto');
const { createServer } = require('node:http');
const { WebSocketServer } = require('ws');

const [host, port] = (process.argv[2] ?? '').split(':');
if (!port) {
  console.error('the first argument is HOST:PORT');
  process.exit(2);
}

const directory = new Map();
const http = createServer();
const server = new WebSocketServer({ server: http, path: '/v1/texto', perMessageDeflate: false, clientTracking: false });

server.on('connection', (socket) => {
  const me = randomUUID();
  directory.set(me, socket);
  socket.on('message', (message) => route(me, socket, message));
  socket.on('close', () => directory.delete(me));
  socket.on('error', () => {});
  socket.send(`{"client_id":"${me}","id":"${randomUUID()}","kind":"connection","data":{"client_id":"${me}"}}`);
});

function route(me, socket, message) {
  const { id, kind, data } = JSON.parse(message);
  if (kind !== 'send') return;
  const receiver = directory.get(data.receiver_id);
  if (receiver) {
    const text = JSON.stringify(data.text);
    receiver.send(
      `{"client_id":"${data.receiver_id}","id":"${randomUUID()}","kind":"receive","data":{"sender_id":"${me}","text":${text}}}`,
    );
  }
  socket.send(`{"client_id":"${me}","id":"${id}","kind":"ack","data":null}`);
}

http.listen({ host, port: Number(port), backlog: 65535 }, () => {
  const { address, port } = http.address();
  console.log(`listening on ${address}:${port}`);
});
