"""Messages that are none of the service's, of every kind. Whoever reaches the broker can send them."""

import itertools
import json
import os
from uuid import uuid4

HEADERS = {"task": "payouts.process", "id": "1"}
LATER = "2099-01-01T00:00:00+00:00"


def call(*arguments, afterwards=None, **named):
    return json.dumps([arguments, named, afterwards or {}])


def some_id():
    return str(uuid4())


# Body, headers and properties of a message, each kind by its name.
KINDS = {
    "random bytes": lambda: (os.urandom(200), HEADERS, {"content_type": "application/octet-stream"}),
    "bytes that claim to be JSON": lambda: (os.urandom(200), HEADERS, {}),
    "a pickle": lambda: (call(some_id()), HEADERS, {"content_type": "application/x-python-serialize"}),
    "an unknown encoding": lambda: (call(some_id()), HEADERS, {"content_encoding": "utf-99"}),
    "an unknown compression": lambda: (call(some_id()), HEADERS | {"compression": "zip-99"}, {}),
    "no headers": lambda: (call(some_id()), {}, {}),
    "no id": lambda: (call(some_id()), {"task": "payouts.process"}, {}),
    "an id that is a list": lambda: (call(some_id()), HEADERS | {"id": [1]}, {}),
    "a task that is a list": lambda: (call(some_id()), HEADERS | {"task": ["payouts.process"]}, {}),
    "an unknown task": lambda: (call(some_id()), HEADERS | {"task": "payouts.pay_me"}, {}),
    "a task of Celery's": lambda: (call(some_id()), HEADERS | {"task": "celery.chunks"}, {}),
    "a time limit that is a word": lambda: (call(some_id()), HEADERS | {"timelimit": "1"}, {}),
    "an expiry that is no time": lambda: (call(some_id()), HEADERS | {"expires": "soon"}, {}),
    "retries that are a word": lambda: (call(some_id()), HEADERS | {"retries": "many"}, {}),
    "much later": lambda: (call(some_id()), HEADERS | {"eta": LATER}, {}),
    "at no time": lambda: (call(some_id()), HEADERS | {"eta": "later"}, {}),
    "numbers": lambda: ("[1, 2, 3]", HEADERS, {}),
    "one number": lambda: ("1", HEADERS, {}),
    "an object": lambda: ('{"id": 1}', HEADERS, {}),
    "the first protocol": lambda: (json.dumps({"task": "payouts.process", "id": "1", "args": [some_id()]}), {}, {}),
    "deep JSON": lambda: ("[" * 2000 + "]" * 2000, HEADERS, {}),
    "no arguments": lambda: (call(), HEADERS, {}),
    "two arguments": lambda: (call(some_id(), some_id()), HEADERS, {}),
    "an argument that is no id": lambda: (call("x"), HEADERS, {}),
    "an id of nobody in another form": lambda: (call(f"urn:uuid:{some_id()}"), HEADERS, {}),
    "an argument that is a list": lambda: (call([1]), HEADERS, {}),
    "a named argument": lambda: (call(payout_id=some_id()), HEADERS, {}),
    "a task afterwards": lambda: (call(some_id(), afterwards={"chain": [{"task": "payouts.process"}]}), HEADERS, {}),
    "huge": lambda: (call("x" * 100_000), HEADERS, {}),
}


def garbage():
    """Without end, each kind in turn."""
    return (make() for make in itertools.cycle(KINDS.values()))


def send(connection, queue, messages):
    producer = connection.Producer()
    for body, headers, properties in messages:
        form = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
        content = body if isinstance(body, bytes) else body.encode()
        producer.publish(content, routing_key=queue, headers=headers, **form)
