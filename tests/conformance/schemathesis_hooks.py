"""What schemathesis must not do to a server that other requests of the run need as it is."""

import itertools
import json

import schemathesis

turns = itertools.count()


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    for name in list(headers):
        # One key for two requests is refused, as it must be: each gets its own.
        if name.lower() == "idempotency-key" and len(headers[name]) < 200 and headers[name].strip():
            if not headers[name].startswith('"') and headers[name].isprintable() and headers[name].isascii():
                headers[name] = f"{headers[name].strip()}-{next(turns)}"
        # To wait is what tests/ask.rs is about.
        if name.lower() == "prefer" and headers[name].startswith("wait="):
            headers[name] = "wait=0"
