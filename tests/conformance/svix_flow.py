"""Goes through every method of the PyPI `svix` SDK, 1.x or 2.x, unmodified: what is offered does what it
should, what is not answers 501, and there is no third kind.

Usage: svix_flow.py SERVER_URL TOKEN SINK_URL sync|async. The sink keeps what is POSTed to it and returns it on
GET as a list of {headers, body (base64)}.
"""

import json

from svix.api import (
    ApplicationIn,
    ApplicationPatch,
    ApplicationTokenExpireIn,
    AppPortalAccessIn,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventExampleIn,
    EventTypeIn,
    EventTypePatch,
    MessageIn,
    MessagePrecheckIn,
)
from svix.api.application import ApplicationListOptions
from svix.api.endpoint import EndpointListOptions
from svix.api.event_type import EventTypeDeleteOptions, EventTypeListOptions
from svix.api.message import MessageCreateOptions, MessageGetOptions, MessageListOptions, message_in_raw
from svix.api.message_attempt import MessageAttemptListByMsgOptions
from svix.webhooks import Webhook, WebhookVerificationError

from svix_lists import lists
from svix_sdk import (
    CALLED,
    MAJOR,
    MODE,
    RATE,
    SINK,
    TYPES,
    any_arguments,
    client,
    fails,
    methods,
    models,
    recorded,
    until,
    version,
)
from svix_tasks import operational_webhooks, tasks

# What is not offered, by the beginnings of its methods' names: each of them answers 501.
ABSENT = (
    "authentication.get_stream_poller_token",
    "authentication.rotate_stream_poller_token",
    "authentication.stream_",
    "autoconfig_subscription.",
    "connector.",
    "destination.",
    "endpoint.patch_transformation",
    "endpoint.transformation",
    "environment.",
    "ingest.",
    "integration.",
    "statistics.aggregate_event_types",
    "streaming.",
)


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


def event_type_changes(svix):
    put = models.EventTypeUpsertIn if MAJOR >= 2 else models.EventTypeUpdate
    # Version 1 of the SDK knows one flag.
    flags = {"feature_flags": ["beta"]} if MAJOR >= 2 else {"feature_flag": "beta"}
    made = svix.event_type.upsert("order.made", put(description="One", **flags))
    assert made.name == "order.made" and (made.feature_flag or made.feature_flags[0]) == "beta"
    schema = {"1": {"examples": [{"order": 1}, {"order": 2}]}}
    patched = svix.event_type.patch("order.made", EventTypePatch(schemas=schema, group_name="order"))
    assert patched.schemas == schema and patched.description == "One" and patched.group_name == "order"
    svix.event_type.delete("order.made")
    assert svix.event_type.get("order.made").archived
    assert "order.made" not in {t.name for t in svix.event_type.list().data}
    archived = svix.event_type.list(EventTypeListOptions(include_archived=True, with_content=True))
    assert "order.made" in {t.name for t in archived.data}
    svix.event_type.delete("order.made", EventTypeDeleteOptions(expunge=True))
    fails(404, "not_found", svix.event_type.get, "order.made")


def event_type_imports(svix):
    schema = {"$ref": "#/components/schemas/Order"}
    content = {"application/json": {"schema": schema, "example": {"order": 7}}}
    shipped = {"description": "It was shipped", "x-svix-group-name": "order", "requestBody": {"content": content}}
    spec = {
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1"},
        "webhooks": {"order.shipped": {"post": shipped}},
        "components": {"schemas": {"Order": {"type": "object"}}},
    }
    Import = models.EventTypeImportOpenApiIn
    dry = svix.event_type.import_openapi(Import(spec=spec, dry_run=True)).data
    assert dry.modified == [] and [t.name for t in dry.to_modify] == ["order.shipped"]
    assert (dry.to_modify[0].group_name, dry.to_modify[0].deprecated) == ("order", False)
    fails(404, "not_found", svix.event_type.get, "order.shipped")
    done = svix.event_type.import_openapi(Import(spec_raw=json.dumps(spec))).data
    assert done.modified == ["order.shipped"] and done.to_modify is None
    made = svix.event_type.get("order.shipped")
    assert made.schemas == {"1": {"type": "object", "examples": [{"order": 7}]}}
    assert made.schemas == dry.to_modify[0].schemas and made.description == "It was shipped"
    assert svix.event_type.import_openapi(Import(spec=spec)).data.modified == [], "the same again is no change"
    fails(400, "generic_error", svix.event_type.import_openapi, Import())
    fails(422, None, svix.event_type.import_openapi, Import(spec_raw="openapi: 3.1.0"))
    svix.event_type.delete("order.shipped", EventTypeDeleteOptions(expunge=True))


def application_changes(svix):
    fast = svix.application.patch("first", ApplicationPatch(**{RATE: 100}))
    assert getattr(fast, RATE) == 100 and fast.name == "First"
    put = svix.application.upsert("first", ApplicationIn(name="First", uid="first", metadata={"plan": "free"}))
    assert getattr(put, RATE) is None and put.metadata == {"plan": "free"}
    limited = svix.application.patch("first", ApplicationPatch(**{RATE: 100}))
    kept = svix.application.patch("first", ApplicationPatch(name="First again"))
    assert getattr(limited, RATE) == getattr(kept, RATE) == 100, "what is absent stays"
    cleared = svix.application.patch("first", ApplicationPatch(name="First", **{RATE: None}))
    assert getattr(cleared, RATE) is None and cleared.name == "First", "what is null goes"
    made = svix.application.upsert("put", ApplicationIn(name="Put", uid="put"))
    assert svix.application.get("put") == made and made.id != put.id
    error = fails(409, "conflict", svix.application.upsert, "put", ApplicationIn(name="Put", uid="first"))
    assert error.detail, error.to_dict()
    svix.application.delete(made.id)


def endpoint_changes(svix):
    Put = models.EndpointUpsertIn if MAJOR >= 2 else models.EndpointUpdate
    made = svix.endpoint.upsert("first", "put", Put(url=SINK, channels=["a", "b"], metadata={"a": "b"}, **{RATE: 9}))
    assert (made.uid, set(made.channels), getattr(made, RATE)) == ("put", {"a", "b"}, 9)
    patched = svix.endpoint.patch("first", "put", EndpointPatch(channels=None, disabled=True))
    assert (patched.channels, patched.disabled, getattr(patched, RATE), patched.metadata) == (None, True, 9, {"a": "b"})
    again = svix.endpoint.upsert("first", "put", Put(url=SINK + "/again", uid="put"))
    assert again.id == made.id and again.url == SINK + "/again"
    assert (getattr(again, RATE), again.metadata, again.disabled) == (None, {}, False), "a PUT replaces"
    patched = svix.endpoint.patch("first", "put", EndpointPatch(uid=None, metadata={"c": "d"}))
    assert patched.uid is None and patched.metadata == {"c": "d"} and patched.url == again.url
    own = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    given = svix.endpoint.create("first", EndpointIn(url=SINK, uid="own", secret=own, disabled=True))
    assert svix.endpoint.get_secret("first", "own").key == own
    for _ in range(10):
        svix.endpoint.rotate_secret("first", "own", EndpointSecretRotateIn())
    fails(400, "limit_reached", svix.endpoint.rotate_secret, "first", "own", EndpointSecretRotateIn())
    for id in (made.id, given.id):
        svix.endpoint.delete("first", id)


def endpoint_settings(svix):
    svix.event_type.create(EventTypeIn(name="sample", description="", schemas={"1": {"examples": [{"a": 1}]}}))
    made = svix.endpoint.create("first", EndpointIn(url=SINK, uid="set", **{RATE: 50, TYPES: ["sample"]}))
    assert getattr(made, RATE) == 50
    svix.endpoint.set_headers("first", "set", EndpointHeadersIn(headers={"X-One": "1", "Authorization": "secret"}))
    found = svix.endpoint.get_headers("first", "set")
    assert found.headers == {"X-One": "1"} and found.sensitive == ["Authorization"]
    svix.endpoint.patch_headers("first", "set", EndpointHeadersPatchIn(headers={"X-Two": "2"}))
    assert svix.endpoint.get_headers("first", "set").headers == {"X-One": "1", "X-Two": "2"}
    active = svix.message.precheck("first", MessagePrecheckIn(event_type="sample"))
    assert active.active
    inactive = svix.message.precheck("first", MessagePrecheckIn(event_type="nobody", channels=["x"]))
    assert not inactive.active
    example = svix.endpoint.send_example("first", "set", EventExampleIn(event_type="sample"))
    assert example.event_type == "sample"
    until("example", lambda: recorded(example.id))
    stats = until("stats", lambda: [s for s in [svix.endpoint.get_stats("first", "set")] if s.success == 1])[0]
    assert (stats.pending, stats.sending, stats.fail, stats.canceled) == (0, 0, 0, 0)
    svix.endpoint.delete("first", "set")


def standings(svix, endpoint, sent):
    messages = svix.message_attempt.list_attempted_messages("first", "sink").data
    mine = [m for m in messages if m.id == sent.id]
    assert len(mine) == 1 and int(mine[0].status) == 0 and mine[0].next_attempt is None
    destinations = svix.message_attempt.list_attempted_destinations("first", sent.id).data
    assert [d.id for d in destinations] == [endpoint.id] and int(destinations[0].status) == 0


def contents(svix, endpoint):
    given = MessageIn(event_type="invoice.paid", payload={"secret": 1}, tags=["to-go"])
    sent = svix.message.create("first", given)
    until("delivery", lambda: recorded(sent.id))
    attempt = until("attempt", lambda: svix.message_attempt.list_by_msg("first", sent.id).data)[0]
    tagged = svix.message.list("first", MessageListOptions(tag="to-go", with_content=True))
    assert [m.id for m in tagged.data] == [sent.id] and tagged.data[0].tags == ["to-go"]
    svix.message.expunge_content("first", sent.id)
    gone = svix.message.get("first", sent.id, MessageGetOptions(with_content=True))
    assert gone.payload == {"expired": True}
    svix.message_attempt.expunge_content("first", sent.id, attempt.id)
    assert svix.message_attempt.get("first", sent.id, attempt.id).response == "EXPUNGED"
    fails(400, "missing_payload", svix.message_attempt.resend, "first", sent.id, endpoint.id)
    if MAJOR >= 2:
        more = [svix.message.create("first", given).id for _ in range(2)]
        told = svix.message.bulk_expunge_content("first", models.BulkExpungeContentsIn(ids=[*more, "absent"]))
        assert told.results == {more[0]: "expunged", more[1]: "expunged", "absent": "not-found"}
        assert svix.message.get("first", more[1], MessageGetOptions(with_content=True)).payload == {"expired": True}


def portal(svix):
    access = svix.authentication.app_portal_access("first", AppPortalAccessIn(feature_flags=["beta"]))
    assert access.token in access.url
    customer = client(access.token)
    assert customer.application.get("first").uid == "first"
    assert {e.uid for e in customer.endpoint.list("first").data} == {"sink"}
    made = customer.endpoint.create("first", EndpointIn(url=SINK, uid="theirs", disabled=True))
    assert customer.endpoint.patch("first", "theirs", EndpointPatch(description="Theirs")).id == made.id
    customer.endpoint.rotate_secret("first", "theirs", EndpointSecretRotateIn())
    assert customer.endpoint.get_secret("first", "theirs").key != svix.endpoint.get_secret("first", "sink").key
    assert customer.message.list("first").data and customer.event_type.list().data
    customer.endpoint.delete("first", "theirs")
    svix.application.create(ApplicationIn(name="Strange", uid="strange"))
    for call, *arguments in (
        (customer.application.list,),
        (customer.application.create, ApplicationIn(name="Mine")),
        (customer.application.delete, "first"),
        (customer.message.create, "first", MessageIn(event_type="x", payload={})),
        (customer.message.expunge_content, "first", "x"),
        (customer.event_type.create, EventTypeIn(name="theirs", description="")),
        (customer.event_type.delete, "invoice.paid"),
        (customer.endpoint.send_example, "first", "sink", EventExampleIn(event_type="invoice.paid")),
        (customer.operational_webhook.endpoint.list,),
        (customer.background_task.list,),
        (customer.authentication.app_portal_access, "first", AppPortalAccessIn()),
    ):
        fails(403, "insufficient access", call, *arguments)
    for call in (customer.application.get, customer.endpoint.list, customer.message.list):
        fails(404, "not_found", call, "strange")
    svix.application.delete("strange")
    if MAJOR == 1:
        dashboard = svix.authentication.dashboard_access("first")
        assert client(dashboard.token).application.get("first").uid == "first" and dashboard.token in dashboard.url
    reader = client(svix.authentication.app_portal_access("first", AppPortalAccessIn(read_only=True)).token)
    assert reader.endpoint.get("first", "sink").uid == "sink"
    fails(403, "insufficient access", reader.endpoint.get_secret, "first", "sink")
    fails(403, "insufficient access", reader.endpoint.patch, "first", "sink", EndpointPatch(description="Not mine"))
    some = [models.AppPortalCapability.VIEW_BASE, models.AppPortalCapability.MANAGE_ENDPOINT_SECRET]
    keeper = client(svix.authentication.app_portal_access("first", AppPortalAccessIn(capabilities=some)).token)
    assert keeper.endpoint.get_secret("first", "sink").key.startswith("whsec_")
    fails(403, "insufficient access", keeper.endpoint.delete, "first", "sink")
    inline = AppPortalAccessIn(application=ApplicationIn(name="Inline", uid="inline"), expiry=3600)
    inline = client(svix.authentication.app_portal_access("inline", inline).token)
    assert inline.application.get("inline").name == "Inline"
    svix.application.delete("inline")
    other = svix.authentication.app_portal_access("first", AppPortalAccessIn(feature_flags=["other"]))
    customer.authentication.logout()
    fails(401, "authentication_failed", customer.endpoint.list, "first")
    other = client(other.token)
    assert other.endpoint.list("first").data
    def of_session(id):
        access = svix.authentication.app_portal_access("first", AppPortalAccessIn(session_id=id))
        return client(access.token)

    one, two = of_session("one"), of_session("two")
    svix.authentication.expire_all("first", ApplicationTokenExpireIn(session_ids=["one"]))
    fails(401, "authentication_failed", one.endpoint.list, "first")
    assert two.endpoint.list("first").data and other.endpoint.list("first").data
    assert of_session("one").endpoint.list("first").data, "a new one of the session is good"
    svix.authentication.expire_all("first", ApplicationTokenExpireIn())
    fails(401, "authentication_failed", other.endpoint.list, "first")


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
    large = MessageIn(event_type="invoice.paid", payload={"large": "x" * (2 << 20)})
    fails(413, "payload_too_large", svix.message.create, "first", large)
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
    raw = svix.message.create("first", message_in_raw("invoice.sent", "<order id='1'/>", "application/xml"))
    assert raw.event_type == "invoice.sent" and raw.id.startswith("msg_")
    inline = MessageIn(event_type="x", payload={}, application=ApplicationIn(name="Inline", uid="inline"))
    svix.message.create("inline", inline)
    assert svix.application.get("inline").name == "Inline"
    svix.application.delete("inline")
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
    headers, body = delivery
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def secrets(svix, sent):
    old = svix.endpoint.get_secret("first", "sink").key
    assert old.startswith("whsec_")
    first = until("two deliveries", lambda: [d for d in [recorded(sent.id)] if len(d) == 2])[0]
    assert all(verifies(old, d) for d in first)
    assert json.loads(first[0][1]) == svix.message.get(
        "first", sent.id, MessageGetOptions(with_content=True)
    ).payload

    svix.endpoint.rotate_secret("first", "sink", EndpointSecretRotateIn())
    new = svix.endpoint.get_secret("first", "sink").key
    assert new.startswith("whsec_") and new != old
    own = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    after = svix.message.create("first", MessageIn(event_type="invoice.paid", payload={"signed": "twice"}))
    delivery = until("delivery", lambda: recorded(after.id))[0]
    assert verifies(old, delivery) and verifies(new, delivery) and not verifies(own, delivery)
    assert not verifies(new, first[0]), "the new secret did not sign before it existed"

    svix.endpoint.rotate_secret("first", "sink", EndpointSecretRotateIn(key=own))
    assert svix.endpoint.get_secret("first", "sink").key == own
    fails(422, None, svix.endpoint.rotate_secret, "first", "sink", EndpointSecretRotateIn(key="whsec_short"))


def health(svix):
    assert svix.health.get() is None


def nothing_is_left_out(svix):
    of_the_sdk = methods(svix._inner)
    absent = {name for name in of_the_sdk if name.startswith(ABSENT)}
    left_out = of_the_sdk.keys() - absent - CALLED
    assert not left_out, f"neither called nor known to be absent: {sorted(left_out)}"
    for name in sorted(absent):
        call = svix
        for part in name.split("."):
            call = getattr(call, part)
        fails(501, "not_implemented", call, *any_arguments(of_the_sdk[name]))
    print(len(of_the_sdk), "methods,", len(absent), "of them absent")


def main():
    print("svix", version("svix"), MODE)
    svix = client()
    applications(svix)
    application_changes(svix)
    event_types(svix)
    event_type_changes(svix)
    event_type_imports(svix)
    endpoint = endpoints(svix)
    sent, skipped = messages(svix)
    attempts(svix, endpoint, sent, skipped)
    secrets(svix, sent)
    standings(svix, endpoint, sent)
    endpoint_changes(svix)
    endpoint_settings(svix)
    contents(svix, endpoint)
    portal(svix)
    lists(svix)
    tasks(svix)
    operational_webhooks(svix)
    health(svix)
    fails(401, "authentication_failed", client("no.such.token").application.list)
    svix.application.delete("first")
    fails(404, "not_found", svix.message.list, "first")
    nothing_is_left_out(svix)
    print("all steps passed")


main()
