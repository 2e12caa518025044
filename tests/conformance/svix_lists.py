"""Lists of every kind as the PyPI `svix` SDK asks for them: in both directions, and with every filter."""

from svix.api import ApplicationIn, EndpointIn, EventTypeIn, MessageIn, MessageStatus, Ordering, StatusCodeClass
from svix.api.application import ApplicationCreateOptions, ApplicationListOptions
from svix.api.endpoint import EndpointCreateOptions, EndpointListOptions
from svix.api.event_type import EventTypeListOptions
from svix.api.message import MessageListOptions
from svix.api.message_attempt import (
    MessageAttemptListAttemptedDestinationsOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageAttemptListByMsgOptions,
)

from svix_sdk import LONG_AGO, SINK, TYPES, both_ways, fails, ids, until

APP = "lists"


def of_things(svix):
    once = ApplicationCreateOptions(idempotency_key="lists")
    made = svix.application.create(ApplicationIn(name=APP, uid=APP), once)
    assert svix.application.create(ApplicationIn(name=APP, uid=APP), once) == made, "the first answer again"
    others = [svix.application.create(ApplicationIn(name=f"Other {n}", uid=f"other-{n}")).id for n in range(4)]
    found = both_ways(svix.application.list, ApplicationListOptions)
    assert set(others) | {made.id} <= set(found)
    turned = both_ways(svix.application.list, ApplicationListOptions, order=Ordering.DESCENDING)
    assert turned == found[::-1]
    for name in ("lists.one", "lists.two", "lists.three"):
        svix.event_type.create(EventTypeIn(name=name, description=""))
    names = both_ways(svix.event_type.list, EventTypeListOptions)
    assert names == both_ways(svix.event_type.list, EventTypeListOptions, order=Ordering.DESCENDING)[::-1]
    once = EndpointCreateOptions(idempotency_key="lists")
    good = [svix.endpoint.create(APP, EndpointIn(url=SINK, uid="good"), once).id]
    assert [svix.endpoint.create(APP, EndpointIn(url=SINK, uid="good"), once).id] == good
    for n in range(4):
        wanted = EndpointIn(url=SINK, uid=f"quiet-{n}", disabled=True, **{TYPES: ["lists.one"]})
        good.append(svix.endpoint.create(APP, wanted).id)
    assert both_ways(svix.endpoint.list, EndpointListOptions, APP, order=Ordering.ASCENDING) == good
    assert both_ways(svix.endpoint.list, EndpointListOptions, APP) == good[::-1]
    for bad in (ApplicationListOptions(limit=251), ApplicationListOptions(limit=0)):
        assert fails(422, None, svix.application.list, bad).detail[0].loc == ["query", "limit"]
    fails(422, None, svix.application.list, ApplicationListOptions(iterator="nonsense"))
    having = svix.application.list(ApplicationListOptions(exclude_apps_with_no_endpoints=True))
    assert made.id in ids(having) and not set(others) & set(ids(having))
    for uid in others:
        svix.application.delete(uid)


def publish(svix):
    made = []
    for number, name in enumerate(("lists.one", "lists.two", "lists.one", "lists.three", "lists.one")):
        tags = ["odd"] if number % 2 else None
        message = MessageIn(event_type=name, payload={"number": number}, channels=["even", "odd"][number % 2 :][:1], tags=tags)
        made.append(svix.message.create(APP, message))
    return made[::-1]


def of_messages(svix, made):
    def messages(**more):
        return ids(svix.message.list(APP, MessageListOptions(**more)))

    def matching(wanted):
        return [message.id for message in made if wanted(message)]

    assert both_ways(svix.message.list, MessageListOptions, APP) == matching(lambda m: True)
    assert messages(channel="odd") == messages(tag="odd") == [made[1].id, made[3].id]
    assert messages(event_types=["lists.two", "lists.three"]) == [made[1].id, made[3].id]
    assert messages(event_types=["lists.one"], limit=1) == [made[0].id]
    middle = made[2].timestamp
    assert messages(before=middle) == matching(lambda m: m.timestamp < middle)
    assert messages(after=middle) == matching(lambda m: m.timestamp >= middle)
    assert messages(before=LONG_AGO) == [] and messages(after=LONG_AGO) == matching(lambda m: True)
    # With a lower end alone the first page has the oldest, so that none is missed.
    oldest = svix.message.list(APP, MessageListOptions(after=LONG_AGO, limit=2))
    assert ids(oldest) == [made[3].id, made[4].id] and not oldest.done
    newer = svix.message.list(APP, MessageListOptions(after=LONG_AGO, limit=2, iterator=oldest.prev_iterator))
    assert ids(newer) == [made[1].id, made[2].id]
    shown = svix.message.list(APP, MessageListOptions(with_content=True)).data
    assert [m.payload for m in shown] == [{"number": n} for n in (4, 3, 2, 1, 0)]
    hidden = svix.message.list(APP, MessageListOptions(with_content=False)).data
    assert {str(m.payload) for m in hidden} == {"{}"}


def of_attempts(svix, made):
    attempt = svix.message_attempt
    by_endpoint = MessageAttemptListByEndpointOptions

    def attempts(**more):
        return [a.msg_id for a in attempt.list_by_endpoint(APP, "good", by_endpoint(**more)).data]

    until("five attempts", lambda: len(attempts()) == 5)
    everything = {message.id for message in made}
    assert set(attempts()) == everything == set(attempts(after=LONG_AGO)) and attempts(before=LONG_AGO) == []
    assert len(both_ways(attempt.list_by_endpoint, by_endpoint, APP, "good")) == 5
    assert set(attempts(channel="odd")) == set(attempts(tag="odd")) == {made[1].id, made[3].id}
    assert set(attempts(event_types=["lists.two"])) == {made[3].id}
    assert set(attempts(status=MessageStatus.SUCCESS)) == everything and attempts(status=MessageStatus.FAIL) == []
    assert set(attempts(status_code_class=StatusCodeClass.CODE2XX)) == everything
    assert attempts(status_code_class=StatusCodeClass.CODE5XX) == []
    first = attempt.list_by_msg(APP, made[0].id, MessageAttemptListByMsgOptions(endpoint_id="good")).data
    assert [a.msg_id for a in first] == [made[0].id]
    none = MessageAttemptListByMsgOptions(endpoint_id="quiet-1")
    assert attempt.list_by_msg(APP, made[0].id, none).data == []
    with_message = attempt.list_by_endpoint(APP, "good", by_endpoint(with_msg=True, limit=1)).data[0]
    assert with_message.msg.id == with_message.msg_id and with_message.msg.payload == {}
    full = attempt.list_by_msg(APP, made[0].id, MessageAttemptListByMsgOptions(with_content=True)).data[0]
    # The sink says nothing in its answers, so there is nothing to hide.
    assert full.response == "" and attempt.get(APP, made[0].id, full.id).url == SINK

    to_whom = attempt.list_attempted_messages
    options = MessageAttemptListAttemptedMessagesOptions
    assert both_ways(to_whom, options, APP, "good") == [m.id for m in made]
    for more, expected in (
        ({"channel": "odd"}, [made[1].id, made[3].id]),
        ({"tag": "odd"}, [made[1].id, made[3].id]),
        ({"event_types": ["lists.three"]}, [made[1].id]),
        ({"status": MessageStatus.SUCCESS}, [m.id for m in made]),
        ({"status": MessageStatus.FAIL}, []),
        ({"before": LONG_AGO}, []),
    ):
        assert ids(to_whom(APP, "good", options(**more))) == expected, more
    shown = to_whom(APP, "good", options(with_content=True, limit=1)).data[0]
    assert shown.payload == {"number": 4} and shown.status_text == "success"
    destinations = MessageAttemptListAttemptedDestinationsOptions(limit=10)
    assert [d.uid for d in attempt.list_attempted_destinations(APP, made[1].id, destinations).data] == ["good"]
    # A disabled endpoint is to get what it takes once it is enabled.
    waiting = both_ways(attempt.list_attempted_destinations, MessageAttemptListAttemptedDestinationsOptions, APP, made[0].id)
    assert len(waiting) == 5


def lists(svix):
    of_things(svix)
    made = publish(svix)
    of_messages(svix, made)
    of_attempts(svix, made)
    svix.application.delete(APP)
