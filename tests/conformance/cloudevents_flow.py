"""CloudEvents made by PyPI `cloudevents` are published and delivered as CloudEvents, in every mode, and read again
by the same library: the attributes are the same, and the data is byte for byte what was published.

Usage: cloudevents_flow.py SERVER_URL TOKEN SINK_URL CORPUS. Needs PyPI `svix` for what is around it. CORPUS has
real events, one message a line; their payloads are the data of some of the events.
"""

import base64
import json
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from urllib.parse import unquote

import httpx
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import conversion
from cloudevents.v1 import http as legacy

SERVER, TOKEN, SINK, CORPUS = sys.argv[1:5]
APP, SECONDS = "clouds", 20
MODES = ("payload", "cloudEventsBinary", "cloudEventsStructured")
api = httpx.Client(base_url=f"{SERVER}/api/v1/app", headers={"authorization": f"Bearer {TOKEN}"}, timeout=SECONDS)


def samples():
    """Attributes and data, of every kind that the library takes."""
    at = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=timezone.utc)
    whole = {
        "subject": "Grüße, 100 % \"quoted\" 😀",
        "time": at,
        "dataschema": "https://example.com/schema#1",
        "comexampleext": "späte Post",
        "partitionkey": "customer 7",
    }
    json_type = {"datacontenttype": "application/json"}
    yield whole | json_type, {"note": "Grüße 😀", "big": 12345678901234567890, "z": 1, "a": [1.50, None, True]}
    yield {"datacontenttype": "application/vnd.example+json; charset=utf-8"}, {"b": 1, "a": 2}
    yield whole | {"datacontenttype": "application/xml"}, "<order id='7'>\n  Grüße</order>\n"
    yield {"datacontenttype": "application/octet-stream"}, bytes(range(256))
    yield {"datacontenttype": "text/plain"}, "plain"
    yield {}, None
    with open(CORPUS, encoding="utf-8") as lines:
        for line in list(lines)[::40]:
            message = json.loads(line)
            yield json_type | {"type": message["eventType"]}, message["payload"]


def events(kind):
    for number, (attributes, data) in enumerate(samples()):
        needed = {"id": f"{kind} {number}", "source": "/tests/clouds", "type": "com.example.made", "specversion": "1.0"}
        yield CloudEvent(attributes=needed | attributes, data=data)


def publish(headers, content):
    answer = api.post(f"/{APP}/event", headers=headers, content=content)
    assert answer.status_code in (200, 202), f"{answer.status_code} {answer.text} {headers}"
    return answer.json()


def delivered(count):
    """What the sink has, by the format of the endpoint that it came to."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = [(d["headers"], base64.b64decode(d["body"])) for d in httpx.get(SINK).json()]
        if len(found) >= count:
            break
        assert time.monotonic() < deadline, f"{len(found)} deliveries instead of {count}"
        time.sleep(0.02)
    modes = {mode: {} for mode in MODES}
    for headers, body in found:
        (mode, name) = (headers["x-mode"], headers["webhook-id"])
        assert name not in modes[mode], f"{name} came twice to {mode}"
        modes[mode][name] = HTTPMessage(headers, body)
    return modes


def told(event):
    """All that an event says. A webhook must have a content type, so data of which nothing is said has that."""
    untyped = {"datacontenttype": "application/octet-stream"}
    said = {name: value for name, value in event.get_attributes().items() if value is not None}
    return untyped | said, event.get_data()


def check(sent, bodies):
    modes = delivered(3 * len(sent))
    for name, event in sent.items():
        attributes, data = told(event)
        for mode in MODES[1:]:
            found, its_data = told(from_http_event(modes[mode][name]))
            assert found == attributes, f"{mode} {name}: {found} {attributes}"
            assert its_data == data, f"{mode} {name}: {its_data!r} {data!r}"
            older = legacy.from_http(modes[mode][name].headers, modes[mode][name].body, lambda data: data)
            # It leaves headers encoded.
            plain = unquote if mode == MODES[1] else str
            assert plain(older["id"]) == attributes["id"] and older["type"] == attributes["type"]
            assert plain(older.get("subject", "None")) == str(attributes.get("subject"))
        assert modes[MODES[1]][name].body == modes["payload"][name].body == bodies[name], name


def main():
    print("cloudevents", version("cloudevents"))
    api.post("", json={"name": APP, "uid": APP}).raise_for_status()
    for mode in MODES:
        made = api.post(f"/{APP}/endpoint", json={"url": SINK, "format": mode, "headers": {"x-mode": mode}})
        assert made.status_code == 201, made.text
    sent, bodies = {}, {}

    def keep(answer, event):
        sent[answer["id"]] = event
        bodies[answer["id"]] = to_binary_event(event).body

    for event in events("binary"):
        message = to_binary_event(event)
        answer = publish(message.headers, message.body)
        keep(answer, event)
        again = publish(message.headers, message.body)
        assert again["id"] == answer["id"], "source and id make it unique"
    for event in events("structured"):
        message = to_structured_event(event)
        keep(publish(message.headers, message.body), event)
    # The library makes no batches; a batch is an array of what it makes.
    batch = list(events("batch"))
    body = b"[" + b",".join(JSONFormat().write(event) for event in batch) + b"]"
    answer = publish({"content-type": "application/cloudevents-batch+json"}, body)
    assert answer["published"] == len(batch) == len(answer["data"]), answer
    for event, made in zip(batch, answer["data"]):
        keep(made, event)
    for attributes, to_http in (({"subject": "older"}, conversion.to_binary), ({"subject": "old"}, conversion.to_structured)):
        needed = {"type": "com.example.made", "source": "/older", "time": "2026-03-04T05:06:07.890000+00:00"}
        older = legacy.CloudEvent(needed | attributes | {"datacontenttype": "application/json"}, {"a": 1})
        headers, body = to_http(older)
        answer = publish(headers, body)
        taken = dict(older.get_attributes()) | {"time": datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=timezone.utc)}
        keep(answer, CloudEvent(attributes=taken, data={"a": 1}))
    check(sent, bodies)
    for wrong in ({"ce-id": "1", "ce-source": "/", "ce-specversion": "1.0"}, {"ce-specversion": "9.9"}):
        answer = api.post(f"/{APP}/event", headers=wrong, content=b"")
        assert 400 <= answer.status_code < 500, answer.text
    print(len(sent), "events")
    print("all steps passed")


main()
