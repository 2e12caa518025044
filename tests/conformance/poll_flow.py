"""Asks for events with the PyPI `svix` SDK, 1.x or 2.x, and follows them with PyPI `sseclient-py`, both
unmodified.

Usage: poll_flow.py SERVER_URL TOKEN. The SDK parses every answer into its models (pydantic), so a missing
or mistyped field fails here.
"""

import json
import sys
import threading
from datetime import datetime, timezone
from importlib.metadata import version

import httpx
from sseclient import SSEClient
from svix.api import ApplicationIn, MessageIn, Svix, SvixOptions
from svix.api.message_poller import MessagePollerConsumerPollOptions, MessagePollerPollOptions

# What `svix.autoconfig` calls once a token of the hosted service has told it where.
from svix.api_internal.message_pollerv2 import (
    MessagePollerv2,
    MessagePollerv2ConsumerCommitOptions,
    MessagePollerv2ConsumerPollOptions,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import PollerV2CommitIn, PollingEndpointConsumerSeekIn

SERVER, TOKEN = sys.argv[1:3]
APP, SINK = "asked", "books"


def publish(svix, count, event_type="invoice.paid", **more):
    made = []
    for number in range(count):
        message = MessageIn(event_type=event_type, payload={"number": number}, **more)
        made.append(svix.message.create(APP, message).id)
    return made


def fails(status, call, *arguments):
    try:
        call(*arguments)
    except HTTPValidationError:
        assert status == 422, f"{status} expected"
    except HttpError as error:
        assert error.status_code == status, f"{status} expected: {error.to_dict()}"
    else:
        raise AssertionError(f"{status} expected, but the call succeeded")


def ids(page):
    return [message.id for message in page.data]


def stateless(svix):
    made = publish(svix, 3, channels=["main"]) + publish(svix, 2, "invoice.sent")
    found, iterator = [], None
    while True:
        page = svix.message.poller.poll(APP, SINK, MessagePollerPollOptions(limit=2, iterator=iterator))
        found += ids(page)
        iterator = page.iterator
        if page.done:
            break
    assert found == made
    first = svix.message.poller.poll(APP, SINK, MessagePollerPollOptions(limit=1)).data[0]
    assert (first.event_type, first.payload, first.channels) == ("invoice.paid", {"number": 0}, ["main"])
    by_type = MessagePollerPollOptions(event_type="invoice.sent")
    assert ids(svix.message.poller.poll(APP, SINK, by_type)) == made[3:]
    by_channel = MessagePollerPollOptions(channel="main")
    assert ids(svix.message.poller.poll(APP, SINK, by_channel)) == made[:3]
    past = MessagePollerPollOptions(after=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert ids(svix.message.poller.poll(APP, SINK, past)) == made
    fails(422, svix.message.poller.poll, APP, SINK, MessagePollerPollOptions(iterator="nonsense"))
    fails(404, svix.message.poller.poll, "absent", SINK)
    return made


def by_consumer(svix, made):
    poller = svix.message.poller

    def poll(iterator=None):
        return poller.consumer_poll(APP, SINK, "one", MessagePollerConsumerPollOptions(limit=2, iterator=iterator))

    first = poll()
    assert ids(first) == made[:2] == ids(poll()), "what was not asked on from comes again"
    second = poll(first.iterator)
    assert ids(second) == made[2:4] == ids(poll()), "and what was asked for comes again, too"
    assert ids(poll(second.iterator)) == made[4:]
    sought = poller.consumer_seek(
        APP, SINK, "one", PollingEndpointConsumerSeekIn(after=datetime(2020, 1, 1, tzinfo=timezone.utc))
    )
    assert sought.iterator and ids(poll()) == made[:2]


def by_commits(svix, made):
    poller = MessagePollerv2(svix._client, svix._httpx_client)
    limit = MessagePollerv2ConsumerPollOptions(limit=3)

    def poll(options=limit):
        return poller.consumer_poll(APP, SINK, "two", options)

    page = poll()
    assert ids(page) == made[:3] == ids(poll()) and not page.done
    commit = PollerV2CommitIn(offset=page.data[-1].offset)
    poller.consumer_commit(APP, SINK, "two", commit, MessagePollerv2ConsumerCommitOptions())
    page = poll()
    assert ids(page) == made[3:] and page.done
    fails(501, poll, MessagePollerv2ConsumerPollOptions(lease_duration_ms=1000))
    fails(422, poller.consumer_commit, APP, SINK, "two", PollerV2CommitIn(offset=10**9))


def streamed(svix):
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "text/event-stream"}
    url = f"{SERVER}/api/v1/app/{APP}/stream"

    def follow(count, begun=None, **more):
        found = []
        with httpx.stream("GET", url, headers=headers | more, timeout=30) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"] == "text/event-stream"

            def pieces():
                for piece in answer.iter_bytes():
                    # The first piece says that whatever comes from now on is seen.
                    if begun:
                        begun.set()
                    yield piece

            for event in SSEClient(pieces()).events():
                message = json.loads(event.data)
                assert (event.event, event.id) == ("message", message["id"])
                found.append(event.id)
                if len(found) == count:
                    return found

    begun, results = threading.Event(), []
    follower = threading.Thread(target=lambda: results.append(follow(3, begun)))
    follower.start()
    assert begun.wait(30), "no stream"
    made = publish(svix, 3)
    follower.join(30)
    assert results == [made], f"{results} {made}"
    assert follow(2, **{"last-event-id": made[0]}) == made[1:]


def main():
    print("svix", version("svix"), "sseclient-py", version("sseclient-py"))
    svix = Svix(TOKEN, SvixOptions(server_url=SERVER))
    svix.application.create(ApplicationIn(name=APP, uid=APP))
    made = stateless(svix)
    by_consumer(svix, made)
    by_commits(svix, made)
    streamed(svix)
    print("all steps passed")


main()
