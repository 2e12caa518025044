"""Goes through the basic flow of a webhook sender with the PyPI `svix` SDK, 1.x or 2.x, unmodified.

Usage: svix_flow.py SERVER_URL TOKEN SINK_URL. The sink keeps what is POSTed to it and returns it on GET
as a list of {headers, body (base64)}. The SDK parses every answer into its models (pydantic), so a
missing or mistyped field fails here.
"""

import base64
import json
import sys
import time
import urllib.request
from importlib.metadata import version

from svix.api import (
    ApplicationIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventTypeIn,
    MessageIn,
    Svix,
    SvixOptions,
)
from svix.api.application import ApplicationListOptions
from svix.api.endpoint import EndpointListOptions
from svix.api.event_type import EventTypeListOptions
from svix.api.message import MessageCreateOptions, MessageGetOptions, MessageListOptions
from svix.api.message_attempt import MessageAttemptListByMsgOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.webhooks import Webhook, WebhookVerificationError

SERVER, TOKEN, SINK = sys.argv[1:4]
MAJOR = int(version("svix").split(".")[0])
# The one field of these models that the major versions name differently.
TYPES = "event_types" if MAJOR >= 2 else "filter_types"
SECONDS = 20


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
    deadline = time.monotonic() + SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"no {what} within {SECONDS} s"
        time.sleep(0.02)


def recorded(message_id):
    """What the sink has of a message."""
    with urllib.request.urlopen(SINK, timeout=SECONDS) as answer:
        deliveries = json.load(answer)
    return [d for d in deliveries if d["headers"]["svix-id"] == message_id]


def applications(svix):
    first = svix.application.create(ApplicationIn(name="First", uid="first", metadata={"plan": "free"}))
    assert first.id.startswith("app_") and first.uid == "first" and first.metadata == {"plan": "free"}
    again = svix.application.get_or_create(ApplicationIn(name="Other name", uid="first"))
    assert again.id == first.id and again.name == "First"
    second = svix.application.get_or_create(ApplicationIn(name="Second", uid="second"))
    assert second.id != first.id
    page = svix.application.list(ApplicationListOptions(limit=1))
    assert len(page.data) == 1 and not page.done and page.iterator == page.data[0].id
    rest = svix.application.list(ApplicationListOptions(limit=1, iterator=page.iterator))
    # As sets: two that were made within the same few milliseconds may come in any order.
    assert {a.id for a in page.data + rest.data} == {first.id, second.id}
    assert svix.application.get("first") == svix.application.get(first.id) == first
    fails(409, "conflict", svix.application.create, ApplicationIn(name="Taken", uid="first"))
    fails(404, "not_found", svix.application.get, "absent")
    svix.application.delete("second")
    fails(404, "not_found", svix.application.get, "second")
    error = fails(422, None, svix.application.create, ApplicationIn(name="Bad", uid="no spaces"))
    assert error.detail[0].loc == ["body", "uid"], error.to_dict()


def event_types(svix):
    for name in ("invoice.paid", "invoice.sent"):
        made = svix.event_type.create(EventTypeIn(name=name, description=f"It is {name}."))
        assert made.name == name and not made.archived
    fails(409, "conflict", svix.event_type.create, EventTypeIn(name="invoice.paid", description="Again"))
    fails(422, None, svix.event_type.create, EventTypeIn(name="no spaces", description=""))
    page = svix.event_type.list(EventTypeListOptions(limit=10))
    assert {t.name for t in page.data} == {"invoice.paid", "invoice.sent"} and page.done


def endpoints(svix):
    made = svix.endpoint.create(
        "first",
        EndpointIn(url=SINK, uid="sink", description="The sink", metadata={"a": "b"}, **{TYPES: ["invoice.paid"]}),
    )
    assert made.id.startswith("ep_") and made.url == SINK and made.metadata == {"a": "b"}
    assert getattr(made, TYPES) == ["invoice.paid"] and made.disabled is False
    assert svix.endpoint.get("first", "sink") == svix.endpoint.get("first", made.id) == made
    other = svix.endpoint.create("first", EndpointIn(url=SINK + "/other", channels=["other"]))
    listed = svix.endpoint.list("first", EndpointListOptions(limit=10))
    assert {e.id for e in listed.data} == {made.id, other.id} and listed.done
    patched = svix.endpoint.patch("first", "sink", EndpointPatch(description="Patched"))
    assert patched.description == "Patched" and patched.url == SINK and patched.id == made.id
    assert getattr(patched, TYPES) == ["invoice.paid"], "a patch keeps what it does not name"
    svix.endpoint.delete("first", other.id)
    fails(404, "not_found", svix.endpoint.get, "first", other.id)
    fails(404, "not_found", svix.endpoint.get, "absent", made.id)
    fails(409, "conflict", svix.endpoint.create, "first", EndpointIn(url=SINK, uid="sink"))
    fails(422, None, svix.endpoint.create, "first", EndpointIn(url="no url"))
    fails(422, None, svix.endpoint.create, "first", EndpointIn(url=SINK, **{TYPES: ["never.made"]}))
    return made


def messages(svix):
    payload = {"amount": 700, "note": "Grüße \"quoted\" 😀", "nested": {"z": 1, "a": [1, 2.5, None]}}
    given = MessageIn(event_type="invoice.paid", payload=payload, event_id="event-1", channels=["main"])
    sent = svix.message.create("first", given, MessageCreateOptions(with_content=True))
    assert sent.id.startswith("msg_") and sent.event_id == "event-1" and sent.channels == ["main"]
    assert sent.payload == payload and sent.event_type == "invoice.paid"
    fails(409, "conflict", svix.message.create, "first", given)
    fails(404, "not_found", svix.message.create, "absent", given)
    fails(422, None, svix.message.create, "first", MessageIn(event_type="no spaces", payload={}))
    skipped = svix.message.create("first", MessageIn(event_type="invoice.sent", payload={"no": "match"}))
    with_content = MessageGetOptions(with_content=True)
    for name in (sent.id, "event-1"):
        assert svix.message.get("first", name, with_content) == sent
    page = svix.message.list("first", MessageListOptions(limit=10, with_content=True))
    assert [m.id for m in page.data] == [skipped.id, sent.id] and page.data[1] == sent
    page = svix.message.list("first", MessageListOptions(event_types=["invoice.paid"]))
    assert [m.id for m in page.data] == [sent.id]
    fails(404, "not_found", svix.message.get, "first", "absent")
    once = MessageCreateOptions(idempotency_key="order 1, paid")
    order = MessageIn(event_type="invoice.sent", payload={"order": 1})
    first = svix.message.create("first", order, once)
    assert svix.message.create("first", order, once) == first, "a repetition gets the first answer"
    other = MessageIn(event_type="invoice.sent", payload={"order": 2})
    error = fails(422, None, svix.message.create, "first", other, once)
    assert error.detail[0].loc == ["header", "idempotency-key"], error.to_dict()
    assert len(svix.message.list("first").data) == 3
    return sent, skipped


def attempts(svix, endpoint, sent, skipped):
    options = MessageAttemptListByMsgOptions(limit=10, with_content=True)
    by_message = until("attempt", lambda: svix.message_attempt.list_by_msg("first", sent.id, options).data)
    attempt = by_message[0]
    assert len(by_message) == 1 and attempt.id.startswith("atmpt_")
    assert (attempt.msg_id, attempt.endpoint_id, attempt.url) == (sent.id, endpoint.id, SINK)
    assert attempt.response_status_code == 204 and int(attempt.status) == 0 and int(attempt.trigger_type) == 0
    by_endpoint = svix.message_attempt.list_by_endpoint("first", "sink").data
    assert [a.id for a in by_endpoint] == [attempt.id], "what does not match the filter is not attempted"
    assert svix.message_attempt.list_by_msg("first", skipped.id).data == []
    svix.message_attempt.resend("first", sent.id, endpoint.id)
    until("second attempt", lambda: len(svix.message_attempt.list_by_msg("first", sent.id).data) == 2)
    newest = svix.message_attempt.list_by_msg("first", sent.id).data[0]
    assert int(newest.trigger_type) == 1 and int(newest.status) == 0, "a resend is manual"
    fails(404, "not_found", svix.message_attempt.list_by_msg, "first", "absent")
    fails(404, "not_found", svix.message_attempt.list_by_endpoint, "first", "absent")
    fails(404, "not_found", svix.message_attempt.resend, "first", "absent", endpoint.id)


def verifies(secret, delivery):
    try:
        Webhook(secret).verify(base64.b64decode(delivery["body"]), delivery["headers"])
    except WebhookVerificationError:
        return False
    return True


def secrets(svix, sent):
    old = svix.endpoint.get_secret("first", "sink").key
    assert old.startswith("whsec_")
    first = until("two deliveries", lambda: [d for d in [recorded(sent.id)] if len(d) == 2])[0]
    assert all(verifies(old, d) for d in first)
    assert json.loads(base64.b64decode(first[0]["body"])) == svix.message.get(
        "first", sent.id, MessageGetOptions(with_content=True)
    ).payload

    svix.endpoint.rotate_secret("first", "sink", EndpointSecretRotateIn())
    new = svix.endpoint.get_secret("first", "sink").key
    assert new.startswith("whsec_") and new != old
    own = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    after = svix.message.create("first", MessageIn(event_type="invoice.paid", payload={"signed": "twice"}))
    delivery = until("delivery", lambda: recorded(after.id))[0]
    assert verifies(old, delivery) and verifies(new, delivery) and not verifies(own, delivery)
    assert not verifies(new, first[0]), "the new secret did not sign before it existed"

    svix.endpoint.rotate_secret("first", "sink", EndpointSecretRotateIn(key=own))
    assert svix.endpoint.get_secret("first", "sink").key == own
    fails(422, None, svix.endpoint.rotate_secret, "first", "sink", EndpointSecretRotateIn(key="whsec_short"))


def main():
    print("svix", version("svix"))
    svix = Svix(TOKEN, SvixOptions(server_url=SERVER))
    applications(svix)
    event_types(svix)
    endpoint = endpoints(svix)
    sent, skipped = messages(svix)
    attempts(svix, endpoint, sent, skipped)
    secrets(svix, sent)
    fails(401, "authentication_failed", Svix("no.such.token", SvixOptions(server_url=SERVER)).application.list)
    svix.application.delete("first")
    fails(404, "not_found", svix.message.list, "first")
    print("all steps passed")


main()
