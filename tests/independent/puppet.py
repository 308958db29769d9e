"""A Python WebSocket library on strings: puppet.py websockets | aiohttp

Does what it is told on standard input, one JSON object a line, and answers each with one line. The same words as puppet.mjs.
Connections have names, so one puppet plays several clients.
"""

import asyncio
import json
import sys


class Websockets:
    """The library `websockets` with its defaults: it offers compression and pings by itself."""

    async def open(self, url):
        from websockets.asyncio.client import connect

        self.events = asyncio.Queue()
        self.socket = await connect(url)
        self.reader = asyncio.create_task(self.listen())
        return self.socket.response.headers.get("Sec-WebSocket-Extensions", "")

    async def listen(self):
        async for message in drained(self.socket):
            self.events.put_nowait({"text": message} if isinstance(message, str) else {"binary": message.hex()})
        self.events.put_nowait({"closed": self.socket.close_code})

    async def text(self, text):
        await self.socket.send(text)

    async def binary(self, hex):
        await self.socket.send(bytes.fromhex(hex))

    async def ping(self, payload):
        pong = await self.socket.ping(payload)
        pong.add_done_callback(lambda _: self.events.put_nowait({"pong": payload}))

    async def close(self, code):
        await self.socket.close(code)


async def drained(socket):
    """The messages of a connection until it ends, however it ends."""
    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            yield await socket.recv()
    except ConnectionClosed:
        return


class Aiohttp:
    """The client of `aiohttp` with its defaults, but for answering pings here, since it would hide pongs too."""

    async def open(self, url):
        import aiohttp

        self.kinds = aiohttp.WSMsgType
        self.events = asyncio.Queue()
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(url, autoping=False)
        self.closing = False
        self.reader = asyncio.create_task(self.listen())
        return "permessage-deflate" if self.socket.compress else ""

    async def listen(self):
        while (message := await self.socket.receive()).type not in (self.kinds.CLOSE, self.kinds.CLOSING, self.kinds.CLOSED, self.kinds.ERROR):
            if message.type == self.kinds.TEXT:
                self.events.put_nowait({"text": message.data})
            elif message.type == self.kinds.BINARY:
                self.events.put_nowait({"binary": message.data.hex()})
            elif message.type == self.kinds.PONG:
                self.events.put_nowait({"pong": message.data.decode()})
            elif message.type == self.kinds.PING:
                await self.socket.pong(message.data)
        # While this side closes, `close` reads the answer, and the code is known when it is done.
        if not self.closing:
            await self.ended()

    async def ended(self):
        self.events.put_nowait({"closed": self.socket.close_code})
        await self.session.close()

    async def text(self, text):
        await self.socket.send_str(text)

    async def binary(self, hex):
        await self.socket.send_bytes(bytes.fromhex(hex))

    async def ping(self, payload):
        await self.socket.ping(payload.encode())

    async def close(self, code):
        self.closing = True
        await self.socket.close(code=code)
        await self.ended()


LIBRARIES = {"websockets": Websockets, "aiohttp": Aiohttp}


async def read(connection, milliseconds):
    try:
        return await asyncio.wait_for(connection.events.get(), milliseconds / 1000)
    except asyncio.TimeoutError:
        return {"silence": True}


async def obey(library, connections, do, name, **arguments):
    if do == "open":
        connections[name] = library()
        try:
            return {"opened": await connections[name].open(**arguments)}
        except Exception as error:  # whatever the library calls it
            return {"refused": str(error)}
    if do == "read":
        return await read(connections[name], **arguments)
    await getattr(connections[name], do)(**arguments)
    return {}


async def main(library):
    connections = {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await obey(library, connections, **json.loads(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(LIBRARIES[sys.argv[1]]))
