"""What the PyPI `svix` SDK offers beyond publishing: durable tasks, polling, operational webhooks, tokens."""

from datetime import datetime, timedelta, timezone

from svix.api import (
    ApplicationIn,
    BackgroundTaskStatus,
    BackgroundTaskType,
    BulkReplayIn,
    EndpointIn,
    EndpointPatch,
    EventTypeIn,
    MessageIn,
    RecoverIn,
    ReplayIn,
)
from svix.api.background_task import BackgroundTaskListOptions
from svix.api.endpoint import EndpointGetStatsOptions
from svix.api.message import MessageGetOptions
from svix.api.message_attempt import MessageAttemptListByEndpointOptions
from svix.api.message_poller import MessagePollerConsumerPollOptions, MessagePollerPollOptions
from svix.models import PollingEndpointConsumerSeekIn

from svix_sdk import LONG_AGO, MAJOR, SINK, TYPES, both_ways, deliveries, fails, ids, models, until

APP = "tasks"


def finished(svix, task, of_type):
    """The task once it has ended."""
    assert str(task.task) == of_type and task.id.startswith("qtask_")
    shown = until(of_type, lambda: [t for t in [svix.background_task.get(task.id)] if t.status != "running"])[0]
    assert (shown.status, shown.task, shown.id) == ("finished", of_type, task.id), shown
    return shown


def replays(svix):
    svix.application.create(ApplicationIn(name=APP, uid=APP))
    svix.endpoint.create(APP, EndpointIn(url=f"{SINK}/status/500", uid="sick"))
    made = [svix.message.create(APP, MessageIn(event_type="replayed", payload={"n": n})).id for n in range(3)]

    def standing(uid, count):
        stats = svix.endpoint.get_stats(APP, uid)
        return (stats.success, stats.fail) == count

    until("three that failed", lambda: standing("sick", (0, 3)))
    failed = svix.message_attempt.list_by_endpoint(APP, "sick", MessageAttemptListByEndpointOptions(status_code_class=500))
    assert {a.msg_id for a in failed.data} == set(made) and {int(a.status) for a in failed.data} == {2}
    if MAJOR >= 2:
        counted = svix.endpoint.get_attempt_stats(APP, "sick")
        assert (counted.success, counted.fail, counted.canceled) == (0, 9, 0), "three attempts at each"
    svix.endpoint.patch(APP, "sick", EndpointPatch(url=SINK))
    finished(svix, svix.endpoint.recover(APP, "sick", RecoverIn(since=LONG_AGO)), "endpoint.recover")
    until("three that were recovered", lambda: standing("sick", (3, 0)))
    svix.endpoint.create(APP, EndpointIn(url=SINK, uid="late"))
    finished(svix, svix.endpoint.replay_missing(APP, "late", ReplayIn(since=LONG_AGO)), "endpoint.replay")
    until("three that were missing", lambda: standing("late", (3, 0)))
    before = len(deliveries())
    some = BulkReplayIn(since=LONG_AGO, event_types=["replayed"])
    finished(svix, svix.endpoint.bulk_replay(APP, "late", some), "endpoint.bulk-replay")
    until("three more", lambda: len(deliveries()) == before + 3)
    fails(422, None, svix.endpoint.recover, APP, "late", RecoverIn(since=LONG_AGO, until=LONG_AGO))
    long_ago = EndpointGetStatsOptions(since=LONG_AGO)
    fails(400, "invalid_range", svix.endpoint.get_stats, APP, "late", long_ago)
    fails(404, "not_found", svix.endpoint.recover, APP, "absent", RecoverIn(since=LONG_AGO))
    return made


def counted(svix):
    """Deliveries by application: each message and endpoint once, however often it was tried or sent again."""
    now = datetime.now(timezone.utc) + timedelta(minutes=1)
    usage = svix.statistics.aggregate_app_stats
    begun = usage(models.AppUsageStatsIn(since=LONG_AGO, until=now, app_ids=[APP, "absent"]))
    assert begun.unresolved_app_ids == ["absent"]
    ended = finished(svix, begun, "application.stats")
    # Three to the endpoint that was sick, three to the late one.
    (stats,) = ended.data["appStats"]
    assert (stats["appUid"], stats["messageDestinations"]) == (APP, 6), ended.data
    fails(422, None, usage, models.AppUsageStatsIn(since=LONG_AGO, until=now, app_ids=["absent"]))


def expunged(svix, made):
    task = svix.message.expunge_all_contents(APP)
    finished(svix, task, "application.purge_content")
    for id in made:
        assert svix.message.get(APP, id, MessageGetOptions(with_content=True)).payload == {"expired": True}


def shown(svix):
    assert len(both_ways(svix.background_task.list, BackgroundTaskListOptions)) == 4
    options = BackgroundTaskListOptions(status=BackgroundTaskStatus.FINISHED, task=BackgroundTaskType.ENDPOINT_REPLAY)
    assert len(svix.background_task.list(options).data) == 1
    assert svix.background_task.list(BackgroundTaskListOptions(status=BackgroundTaskStatus.FAILED)).data == []
    fails(404, "not_found", svix.background_task.get, "qtask_absent")


def polled(svix, made):
    poller = svix.message.poller
    assert ids(poller.poll(APP, "sink", MessagePollerPollOptions(limit=10))) == made
    page = poller.consumer_poll(APP, "sink", "one", MessagePollerConsumerPollOptions(limit=2))
    assert ids(page) == made[:2] and not page.done
    rest = poller.consumer_poll(APP, "sink", "one", MessagePollerConsumerPollOptions(iterator=page.iterator))
    assert ids(rest) == made[2:] and rest.done
    poller.consumer_seek(APP, "sink", "one", PollingEndpointConsumerSeekIn(after=LONG_AGO))
    assert ids(poller.consumer_poll(APP, "sink", "one")) == made


def tasks(svix):
    made = replays(svix)
    counted(svix)
    shown(svix)
    polled(svix, made)
    expunged(svix, made)
    svix.application.delete(APP)


def of_one_name(svix, operational):
    """Operational webhooks by one of the two names that version 1 has for them."""
    Create = models.OperationalWebhookEndpointIn
    Put = models.OperationalWebhookEndpointUpsertIn if MAJOR >= 2 else models.OperationalWebhookEndpointUpdate
    Headers = models.OperationalWebhookEndpointHeadersIn
    Rotate = models.OperationalWebhookEndpointSecretIn
    made = operational.create(Create(url=SINK, uid="ops", **{TYPES: ["endpoint.disabled"]}))
    assert operational.get("ops") == made and ids(operational.list()) == [made.id]
    put = operational.upsert("ops", Put(url=SINK, uid="ops", **{TYPES: ["endpoint.created"]}))
    assert put.id == made.id and getattr(put, TYPES) == ["endpoint.created"]
    operational.set_headers("ops", Headers(headers={"X-Operator": "on call"}))
    assert operational.get_headers("ops").headers == {"X-Operator": "on call"}
    own = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    operational.rotate_secret("ops", Rotate(key=own))
    assert operational.get_secret("ops").key == own
    heard = svix.endpoint.create("first", EndpointIn(url=f"{SINK}/heard-of", description="heard of")).id

    def told():
        return [headers for headers, body in deliveries() if headers.get("x-operator") and heard.encode() in body]

    until("word of the endpoint", told)
    svix.endpoint.delete("first", heard)
    operational.delete("ops")
    fails(404, "not_found", operational.get, "ops")


def operational_webhooks(svix):
    of_one_name(svix, svix.operational_webhook.endpoint)
    if MAJOR == 1:
        of_one_name(svix, svix.operational_webhook_endpoint)
