"""What the steps of `svix_flow.py` share: the PyPI `svix` SDK, 1.x or 2.x, as it is, behind an object that
keeps the names of the methods that were called, so that at the end none of the SDK's can have been forgotten.

Arguments: SERVER_URL TOKEN SINK_URL sync|async. The SDK parses every answer into its models (pydantic), so a
missing or mistyped field fails here.
"""

import asyncio
import base64
import inspect
import json
import sys
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import svix.api as models
from svix.exceptions import HttpError, HTTPValidationError

SERVER, TOKEN, SINK, MODE = sys.argv[1:5]
MAJOR = int(version("svix").split(".")[0])
# The fields of models that the major versions name differently.
RATE = "throttle_rate" if MAJOR >= 2 else "rate_limit"
TYPES = "event_types" if MAJOR >= 2 else "filter_types"
# Methods that version 1 names differently.
OLDER = {"upsert": "update", "set_headers": "update_headers"}
SECONDS = 20
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)

LOOP = asyncio.new_event_loop()
CALLED = set()


class Called:
    """A part of the SDK. What is awaited in the asynchronous client is awaited here."""

    def __init__(self, inner, path=""):
        self._inner, self._path = inner, path

    def __getattr__(self, name):
        if not hasattr(self._inner, name):
            name = OLDER.get(name, name)
        found, path = getattr(self._inner, name), self._path + name
        if not inspect.ismethod(found):
            return Called(found, path + ".")

        def call(*arguments):
            CALLED.add(path)
            answer = found(*arguments)
            return LOOP.run_until_complete(answer) if inspect.isawaitable(answer) else answer

        return call


def client(token=TOKEN):
    sdk = models.SvixAsync if MODE == "async" else models.Svix
    # The SDK would repeat what is answered with 501, too; here every answer counts.
    return Called(sdk(token, models.SvixOptions(server_url=SERVER, retry_schedule=[])))


def methods(part, path=""):
    """All methods below a part of the SDK, by name."""
    found = {}
    for name in dir(type(part)):
        if name.startswith("_"):
            continue
        if isinstance(inspect.getattr_static(part, name), property):
            found |= methods(getattr(part, name), f"{path}{name}.")
        else:
            found[path + name] = getattr(part, name)
    return found


def any_arguments(method):
    """Something of the right type for whatever a method needs."""
    needed = [p for p in inspect.signature(method).parameters.values() if p.default is inspect.Parameter.empty]
    return ["x" if p.annotation is str else p.annotation.model_construct() for p in needed]


def fails(status, code, call, *arguments):
    """The call raises the SDK's exception for this status; returns it."""
    try:
        call(*arguments)
    except HTTPValidationError as error:
        assert status == 422, f"{status} expected: {error}"
        return error
    except HttpError as error:
        assert (error.status_code, error.code) == (status, code), f"{status} {code} expected: {error.to_dict()}"
        return error
    raise AssertionError(f"{status} expected, but the call succeeded")


def until(what, look):
    deadline, wait = time.monotonic() + SECONDS, 0.01
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"no {what} within {SECONDS} s"
        time.sleep(wait)
        wait = min(2 * wait, 0.2)


def deliveries():
    """What the sink has: headers and the bytes of the body."""
    with urllib.request.urlopen(SINK, timeout=SECONDS) as answer:
        return [(d["headers"], base64.b64decode(d["body"])) for d in json.load(answer)]


def recorded(message_id):
    """What the sink has of a message."""
    return [(headers, body) for headers, body in deliveries() if headers["svix-id"] == message_id]


def ids(page):
    return [getattr(item, "id", None) or item.name for item in page.data]


def both_ways(call, options, *place, size=2, **more):
    """Reads a list to its end by `iterator` and back by `prev_iterator`: the same pages, every item once."""

    def page(iterator=None):
        return call(*place, options(limit=size, iterator=iterator, **more))

    there = [page()]
    while not there[-1].done:
        there.append(page(there[-1].iterator))
        assert all(len(p.data) == size for p in there[:-1])
    back = there[-1]
    for expected in reversed(there[:-1]):
        back = page(back.prev_iterator)
        assert ids(back) == ids(expected), f"{ids(back)} {ids(expected)}"
    assert back.done if len(there) > 1 else True, "nothing is in front of the first page"
    found = [id for p in there for id in ids(p)]
    assert len(there) > 1 and len(set(found)) == len(found), found
    return found

