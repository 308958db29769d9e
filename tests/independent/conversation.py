"""Three WebSocket libraries that know nothing of Texto talk to a node, and to each other through it.

    conversation.py HOST:PORT           a node with default settings

Each library is a puppet: a process that opens connections and says what it is told. What is said, and what must come back, stands
here once for all three. The last line is `N passed, M failed`.
"""

import itertools
import json
import pathlib
import re
import subprocess
import sys
import traceback
import uuid

HERE = pathlib.Path(__file__).parent
LIBRARIES = {
    "ws": ["node", HERE / "puppet.mjs"],
    "websockets": [sys.executable, HERE / "puppet.py", "websockets"],
    "aiohttp": [sys.executable, HERE / "puppet.py", "aiohttp"],
}
UUID_V4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FIELDS = ["client_id", "id", "kind", "data"]
NOBODY = "0e1c2f5e-3f0b-4c62-8a38-a5c2e0b4d3f1"
# Default size of the largest message, in bytes.
MESSAGE_SIZE = 256 * 1024


class Puppet:
    """One library in a process of its own."""

    def __init__(self, library, address):
        self.library, self.address = library, address
        self.names = itertools.count()
        self.process = subprocess.Popen(LIBRARIES[library], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do, name, **arguments):
        self.process.stdin.write(json.dumps({"do": do, "name": name, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the puppet of {self.library} is gone"
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


class Client:
    """One connection. Greeted unless asked not to be; `me` is its session."""

    def __init__(self, puppet, query="", register=True):
        self.puppet, self.name = puppet, str(next(puppet.names))
        opened = puppet.ask("open", self.name, url=f"ws://{puppet.address}/v1/texto{query}")
        assert "opened" in opened, opened
        self.me = self.hear("connection")["data"]["client_id"] if register else None

    def event(self, milliseconds=5000):
        return self.puppet.ask("read", self.name, milliseconds=milliseconds)

    def hear(self, kind, id=None):
        """The next message, which must be of this kind, and answer the request of this id if there is one."""
        event = self.event()
        assert "text" in event, f"a message of kind {kind} was to come, but {event}"
        message = json.loads(event["text"])
        assert list(message) == FIELDS, event
        assert message["kind"] == kind, event
        assert UUID_V4.fullmatch(message["client_id"]) and UUID_V4.fullmatch(message["id"]), event
        assert id in (None, message["id"]), f"{id} was to be answered, but {event}"
        assert kind == "connection" or message["client_id"] == self.me, event
        return message

    def say(self, text):
        self.puppet.ask("text", self.name, text=text)

    def request(self, kind, data, client_id=None):
        id = str(uuid.uuid4())
        self.say(json.dumps({"client_id": client_id or self.me, "id": id, "kind": kind, "data": data}))
        return id

    def send(self, receiver, text):
        return self.request("send", {"receiver_id": receiver.me, "text": text})

    def close(self, code=1000):
        self.puppet.ask("close", self.name, code=code)
        assert (event := self.event()) == {"closed": code}, event


# --- What every library can do by itself ----------------------------------------------------------------------------


def a_new_client_is_greeted_with_its_session(puppet):
    client = Client(puppet, register=False)
    greeting = client.hear("connection")
    assert greeting["data"] == {"client_id": greeting["client_id"]}, greeting
    client.close()


def who_asked_not_to_be_greeted_registers_first(puppet):
    client = Client(puppet, "?nogreet=1", register=False)
    assert client.event(100) == {"silence": True}
    id = client.request("registration", None)
    client.me = client.hear("connection", id)["data"]["client_id"]
    id = client.request("registration", None)
    assert client.hear("connection", id)["data"]["client_id"] == client.me
    client.close()


def a_message_to_oneself_is_acknowledged_then_received(puppet):
    client = Client(puppet)
    id = client.send(client, "note to self")
    client.hear("ack", id)
    received = client.hear("receive")
    assert received["data"] == {"sender_id": client.me, "text": "note to self"} and received["id"] != id, received
    client.close()


def a_message_to_nobody_is_acknowledged_and_dropped(puppet):
    client = Client(puppet)
    id = client.request("send", {"receiver_id": NOBODY, "text": "hello?"})
    assert client.hear("ack", id)["data"] is None
    client.close()


# What is wrong, the message, the code of the answer. `$me` stands for the session, `$id` for the id of the request; where the
# message has no readable id, the error has a fresh one.
ERRORS = [
    ("not JSON", "hello", "ESYNTAX"),
    ("an array", '["$me", "", "send", {}]', "ESYNTAX"),
    ("a second document", '{"client_id":"$me","id":"8d0c0f3e-0a56-4a1f-9d70-3c5a1f2e4b6d","kind":"ack"} {}', "ESYNTAX"),
    ("no id", '{"client_id":"$me","kind":"registration"}', "ESYNTAX"),
    ("an id in braces", '{"client_id":"$me","id":"{$fresh}","kind":"registration"}', "ESYNTAX"),
    ("no kind", '{"client_id":"$me","id":"$id"}', "ESYNTAX"),
    ("an unknown kind", '{"client_id":"$me","id":"$id","kind":"shout","data":null}', "EKIND"),
    ("a kind of the server", '{"client_id":"$me","id":"$id","kind":"receive","data":null}', "EKIND"),
    ("a foreign session", '{"client_id":"' + NOBODY + '","id":"$id","kind":"send","data":{"receiver_id":"$me","text":""}}', "ECID"),
    ("no data", '{"client_id":"$me","id":"$id","kind":"send"}', "EINVAL"),
    ("no recipient", '{"client_id":"$me","id":"$id","kind":"send","data":{"text":""}}', "EINVAL"),
    ("a recipient that is no UUID", '{"client_id":"$me","id":"$id","kind":"send","data":{"receiver_id":"bob","text":""}}', "EINVAL"),
    ("a text that is no string", '{"client_id":"$me","id":"$id","kind":"send","data":{"receiver_id":"$me","text":7}}', "EINVAL"),
]


def errors_name_the_request_and_the_connection_goes_on(puppet):
    client = Client(puppet)
    for wrong, message, code in ERRORS:
        id = str(uuid.uuid4())
        client.say(message.replace("$me", client.me).replace("$id", id).replace("$fresh", id))
        error = client.hear("error", id if "$id" in message else None)
        assert error["data"]["code"] == code and error["data"]["description"], (wrong, error)
    client.puppet.ask("binary", client.name, hex="00ff")
    assert client.hear("error")["data"]["code"] == "ESYNTAX"
    client.hear("connection", client.request("registration", None))
    client.close()


# A text as a client writes it in JSON, and the same as the recipient reads it.
TEXTS = [
    ('""', ""),
    ('"plain"', "plain"),
    (r'"quote \" backslash \\ slash \/ line\nbreak\ttab"', 'quote " backslash \\ slash / line\nbreak\ttab'),
    (r'"\u0000 and \u001f"', "\0 and \x1f"),
    (r'"escaped \u00e9 and \ud83d\ude80"', "escaped é and 🚀"),
    ('"raw é, 漢字, עברית, 👩‍👩‍👧‍👦, e\u0301"', "raw é, 漢字, עברית, 👩‍👩‍👧‍👦, e\u0301"),
    ('"\u2028\u2029\ufeff\U0010ffff"', "\u2028\u2029\ufeff\U0010ffff"),
    (r'"<script>alert(1)</script> & \u003cb\u003e"', "<script>alert(1)</script> & <b>"),
]


def every_text_arrives_with_the_same_code_points(puppet):
    client = Client(puppet)
    for raw, text in TEXTS:
        id = str(uuid.uuid4())
        client.say(f'{{"kind":"send","id":"{id}","client_id":"{client.me}","data":{{"text":{raw},"receiver_id":"{client.me}"}}}}')
        client.hear("ack", id)
        assert client.hear("receive")["data"]["text"] == text, raw
    client.close()


def a_lone_surrogate_is_refused(puppet):
    client = Client(puppet)
    data = r'{"receiver_id":"' + client.me + r'","text":"half \ud83d of a pair"}'
    client.say(f'{{"client_id":"{client.me}","id":"{uuid.uuid4()}","kind":"send","data":{data}}}')
    assert client.hear("error")["data"]["code"] in ("ESYNTAX", "EINVAL")
    client.close()


def a_ping_is_answered_with_its_payload(puppet):
    client = Client(puppet)
    for payload in ("", "are you there?", "x" * 125):
        client.puppet.ask("ping", client.name, payload=payload)
        assert (event := client.event()) == {"pong": payload}, event
    client.close()


def closing_is_answered_with_the_same_code(puppet):
    for code in (1000, 4001):
        Client(puppet).close(code)


def a_message_of_just_the_limit_passes(puppet):
    client = Client(puppet)
    frame = json.dumps({"client_id": client.me, "id": (id := str(uuid.uuid4())), "kind": "send", "data": {"receiver_id": client.me, "text": "%"}})
    text = "m" * (MESSAGE_SIZE - len(frame) + 1)
    client.say(frame.replace("%", text))
    client.hear("ack", id)
    assert client.hear("receive")["data"]["text"] == text
    client.close()


def a_message_above_the_limit_ends_the_connection_with_1009(puppet):
    for size in (MESSAGE_SIZE + 1, 4 * MESSAGE_SIZE):
        client = Client(puppet)
        client.say("m" * size)
        assert (event := client.event()) == {"closed": 1009}, event


# --- What two libraries can do together -----------------------------------------------------------------------------


def messages_pass_both_ways(here, there):
    alice, bob = Client(here), Client(there)
    for sender, recipient in ((alice, bob), (bob, alice)):
        id = sender.send(recipient, "good morning, 早上好")
        received = recipient.hear("receive")
        assert received["data"] == {"sender_id": sender.me, "text": "good morning, 早上好"} and received["id"] != id, received
        sender.hear("ack", id)
        recipient.say(json.dumps({"client_id": recipient.me, "id": received["id"], "kind": "ack", "data": None}))
    # The acknowledgements of the recipients were read and ignored: the next thing each of them hears is the answer to its next request.
    for client in (alice, bob):
        client.hear("connection", client.request("registration", None))
        client.close()


def messages_arrive_in_the_order_in_which_they_were_sent(here, there):
    alice, bob = Client(here), Client(there)
    ids = [alice.send(bob, str(number)) for number in range(100)]
    for number, id in enumerate(ids):
        alice.hear("ack", id)
        assert bob.hear("receive")["data"]["text"] == str(number)
    alice.close()
    bob.close()


ALONE = [
    a_new_client_is_greeted_with_its_session,
    who_asked_not_to_be_greeted_registers_first,
    a_message_to_oneself_is_acknowledged_then_received,
    a_message_to_nobody_is_acknowledged_and_dropped,
    errors_name_the_request_and_the_connection_goes_on,
    every_text_arrives_with_the_same_code_points,
    a_lone_surrogate_is_refused,
    a_ping_is_answered_with_its_payload,
    closing_is_answered_with_the_same_code,
    a_message_of_just_the_limit_passes,
    a_message_above_the_limit_ends_the_connection_with_1009,
]
TOGETHER = [messages_pass_both_ways, messages_arrive_in_the_order_in_which_they_were_sent]


def check(claim, *puppets):
    """One claim about one or two libraries. Says why it does not hold, if it does not."""
    title = f"{claim.__name__.replace('_', ' ')} [{' → '.join(puppet.library for puppet in puppets)}]"
    try:
        claim(*puppets)
    except Exception:
        print(f"FAILED {title}\n{traceback.format_exc()}")
        return False
    print(f"ok {title}")
    return True


def main(address):
    puppets = [Puppet(library, address) for library in LIBRARIES]
    results = [check(claim, puppet) for claim in ALONE for puppet in puppets]
    results += [check(claim, *pair) for claim in TOGETHER for pair in itertools.product(puppets, repeat=2)]
    for puppet in puppets:
        puppet.end()
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
