//! Golden JSON: what SDKs parse.
//!
//! **Invariant:** a change here is a change of the API.
//! **Next:** `fields.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use hooklog_storage::{
    Application, ApplicationId, Attempt, AttemptId, AttemptSeq, Endpoint, Event, EventId,
    EventType, Filter, NewAttempt, Offset, OrganisationId, Outcome, Record, SecretKey,
    Subscription, SubscriptionId, SubscriptionState, Timestamp, Trigger,
};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_008)
}

#[track_caller]
fn check(value: &impl Serialize, expected: &Expect) {
    expected.assert_eq(&serde_json::to_string_pretty(value).expect("is JSON"));
}

fn record(payload: &'static [u8]) -> Record {
    Record {
        offset: Offset::new(7),
        id: EventId::at(now(), Offset::new(7), [9; 7]),
        timestamp: now(),
        event: Event {
            application: ApplicationId::new(now(), [1; 15]),
            event_type: "invoice.paid".parse().expect("a name"),
            channels: vec!["eu".parse().expect("a name")],
            uid: Some("inv-1".parse().expect("a name")),
            idempotency: None,
            content_type: "application/json".to_owned(),
            payload: Bytes::from_static(payload),
            tags: Vec::new(),
            ordering_key: None,
            headers: Vec::new(),
            only: None,
            deliver_at: None,
        },
    }
}

#[test]
fn applications() {
    let application = Application {
        id: ApplicationId::new(now(), [1; 15]),
        organisation: OrganisationId::new(now(), [2; 15]),
        uid: None,
        kind: hooklog_storage::ApplicationKind::Customer,
        name: "Ünï \"quoted\"".to_owned(),
        metadata: BTreeMap::from([("tier".to_owned(), "gold".to_owned())]),
        created: Timestamp::from_millis(1_790_000_000_000),
        updated: now(),
        policy: hooklog_storage::Policy::default(),
    };
    let page = List {
        data: vec![application],
        iterator: Some("app_x".to_owned()),
        prev_iterator: Some("-app_x".to_owned()),
        done: true,
    };
    check(
        &page.map(ApplicationOut::from),
        &expect![[r#"
        {
          "data": [
            {
              "id": "app_3Jdnq4edbV2r5EMcpVatl6CzcTB",
              "uid": null,
              "name": "Ünï \"quoted\"",
              "metadata": {
                "tier": "gold"
              },
              "createdAt": "2026-09-21T14:13:20.000Z",
              "updatedAt": "2026-09-21T14:13:20.008Z",
              "throttleRate": null,
              "rateLimit": null
            }
          ],
          "iterator": "app_x",
          "prevIterator": "-app_x",
          "done": true
        }"#]],
    );
    let none = List::<u8> {
        data: Vec::new(),
        iterator: None,
        prev_iterator: None,
        done: true,
    };
    check(
        &none,
        &expect![[r#"
        {
          "data": [],
          "iterator": null,
          "done": true
        }"#]],
    );
}

#[test]
fn event_types() {
    let value = EventType {
        organisation: OrganisationId::new(now(), [2; 15]),
        name: "invoice.paid".parse().expect("a name"),
        description: "Paid".to_owned(),
        archived: false,
        deprecated: true,
        schemas: Some(r#"{"1": { "type":"object"}}"#.to_owned()),
        feature_flags: vec!["beta".to_owned()],
        group_name: Some("invoice".to_owned()),
        created: now(),
        updated: now(),
    };
    check(
        &EventTypeOut::new(&value, Content::Full),
        &expect![[r#"
            {
              "name": "invoice.paid",
              "description": "Paid",
              "archived": false,
              "deprecated": true,
              "schemas": {"1": { "type":"object"}},
              "featureFlag": "beta",
              "featureFlags": [
                "beta"
              ],
              "groupName": "invoice",
              "createdAt": "2026-09-21T14:13:20.008Z",
              "updatedAt": "2026-09-21T14:13:20.008Z"
            }"#]],
    );
    let bare = serde_json::to_value(EventTypeOut::new(&value, Content::Omitted)).expect("is JSON");
    assert!(bare["schemas"].is_null());
}

#[test]
fn endpoints() {
    let value = Subscription {
        id: SubscriptionId::new(now(), [3; 15]),
        application: ApplicationId::new(now(), [1; 15]),
        uid: Some("main".parse().expect("a name")),
        description: String::new().into(),
        endpoint: Endpoint {
            url: "https://example.com/hook".into(),
            secret: SecretKey::new(vec![7; 24]),
            old_secrets: Vec::new().into(),
            headers: Vec::new().into(),
            format: hooklog_storage::Format::Payload,
        },
        filter: Filter {
            event_types: Some(vec!["invoice.paid".parse().expect("a name")]),
            channels: None,
            condition: None,
        },
        state: SubscriptionState::wanted(false, Timestamp::default()),
        metadata: BTreeMap::new().into(),
        start: Offset::ZERO,
        created: now(),
        updated: now(),
        ordering: hooklog_storage::Ordering::None,
        policy: std::sync::Arc::default(),
    };
    check(
        &EndpointOut::from(&value),
        &expect![[r#"
            {
              "id": "ep_3Jdnq4eeWOFV6g7B5ZewaEtXYSB",
              "uid": "main",
              "url": "https://example.com/hook",
              "description": "",
              "disabled": true,
              "eventTypes": [
                "invoice.paid"
              ],
              "filterTypes": [
                "invoice.paid"
              ],
              "channels": null,
              "metadata": {},
              "throttleRate": null,
              "rateLimit": null,
              "ordering": "none",
              "format": "payload",
              "disabledSince": "1970-01-01T00:00:00.000Z",
              "disabledReason": "owner",
              "version": 1,
              "createdAt": "2026-09-21T14:13:20.008Z",
              "updatedAt": "2026-09-21T14:13:20.008Z"
            }"#]],
    );
}

#[test]
fn messages() {
    let payload = br#"{ "b":1.0, "a":"\u00e9"}"#;
    let text = serde_json::to_string(&MessageOut::new(&record(payload), Content::Full));
    let payload = std::str::from_utf8(payload).expect("is text");
    assert!(text.expect("is JSON").contains(payload), "byte for byte");
    check(
        &MessageOut::new(&record(b"{\"a\":1}"), Content::Omitted),
        &expect![[r#"
            {
              "id": "msg_3Jdnq4ed93RX4VULi50hAcAkxmD",
              "eventId": "inv-1",
              "eventType": "invoice.paid",
              "payload": {},
              "channels": [
                "eu"
              ],
              "timestamp": "2026-09-21T14:13:20.008Z"
            }"#]],
    );
    // What is no object is in one, whole.
    let cases: [(&[u8], serde_json::Value); 3] = [
        (b"\xff<a/>", serde_json::json!({"base64": "/zxhLz4="})),
        (b"[1]", serde_json::json!({"text": "[1]"})),
        (b"{nonsense", serde_json::json!({"text": "{nonsense"})),
    ];
    for (payload, expected) in cases {
        let shown = serde_json::to_value(MessageOut::new(&record(payload), Content::Full));
        assert_eq!(shown.expect("is JSON")["payload"], expected);
    }
    // Just published it is the same JSON, with and without its payload, and the payload as it is.
    for payload in [&b"{ \"payload\":{}, \"a\" : [1] }"[..], b"{}", b"<a/>"] {
        for content in [Content::Full, Content::Omitted] {
            let mut record = record(payload);
            for _ in 0..3 {
                let fresh = MessageOut::fresh(&record, content).expect("is JSON");
                let shown = MessageOut::new(&record, content);
                assert_eq!(fresh, serde_json::to_vec(&shown).expect("is JSON"));
                // And when it says less of itself.
                if record.event.channels.is_empty() {
                    record.event.uid = None;
                }
                record.event.channels.clear();
            }
        }
    }
}

#[test]
fn attempts() {
    let value = Attempt {
        id: AttemptId::at(now(), AttemptSeq::new(3), [9; 7]),
        attempt: NewAttempt {
            event: EventId::at(now(), Offset::new(7), [9; 7]),
            subscription: SubscriptionId::new(now(), [3; 15]),
            url: "https://example.com/hook".into(),
            number: 0,
            started: now(),
            duration: Duration::from_micros(1_900),
            status_code: None,
            response: "connection refused".to_owned(),
            outcome: Outcome::Retry(hooklog_storage::Retry::failed(1, now())),
            trigger: Trigger::Manual,
        },
    };
    check(
        &AttemptOut::new(&value, Content::Full),
        &expect![[r#"
        {
          "id": "atmpt_3Jdnq4ed93RX4VULhjib5Cy4B45",
          "msgId": "msg_3Jdnq4ed93RX4VULi50hAcAkxmD",
          "endpointId": "ep_3Jdnq4eeWOFV6g7B5ZewaEtXYSB",
          "url": "https://example.com/hook",
          "response": "connection refused",
          "responseStatusCode": 0,
          "responseDurationMs": 1,
          "status": 2,
          "statusText": "fail",
          "triggerType": 1,
          "timestamp": "2026-09-21T14:13:20.008Z"
        }"#]],
    );
}

/// What a body is refused for, as `field: message`.
fn refusal<T: std::fmt::Debug>(parsed: Result<T, Issue>) -> String {
    parsed.expect_err("is refused").to_string()
}

fn message(text: &str) -> String {
    refusal(MessageIn::parse(&Bytes::copy_from_slice(text.as_bytes())))
}

fn endpoint(text: &str) -> String {
    refusal(Fields::parse(text.as_bytes()).and_then(|fields| EndpointIn::parse(&fields)))
}

fn application(text: &str) -> String {
    refusal(Fields::parse(text.as_bytes()).and_then(|fields| ApplicationIn::parse(&fields)))
}

fn access(text: &str) -> String {
    refusal(Fields::parse(text.as_bytes()).and_then(|fields| AccessIn::parse(&fields)))
}

fn rotation(text: &str) -> String {
    refusal(Fields::parse(text.as_bytes()).and_then(|fields| Rotation::parse(&fields)))
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "a table of bodies and what is said of each"
)]
fn bodies_are_refused_by_field() {
    let large = format!(
        r#"{{"name":"a","metadata":{{"k":"{}"}}}}"#,
        "x".repeat(4096)
    );
    let refusals = [
        message(r"{}"),
        message(r#"{"eventType":"a"}"#),
        message(r#"{"eventType":"a","payload":[1]}"#),
        message(r#"{"eventType":"a","payload":"x"}"#),
        message(r#"{"eventType":"a b","payload":{}}"#),
        message(r#"{"eventType":"a","payload":{},"channels":[]}"#),
        message(r#"{"eventType":"a","payload":{},"eventId":"msg_x"}"#),
        message(r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":5}"#),
        message(r#"{"eventType":"a","payload":{},"deliverAt":"2030-01-01"}"#),
        message(r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":1}}"#),
        message(r#"{"eventType":"a","payload":{},"transformationsParams":{"mode":"x"}}"#),
        message(
            r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":"","headers":{"a":"b"}}}"#,
        ),
        message(r#"{"eventType":"a","payload":{},"tags":["x y"]}"#),
        message(r#"{"eventType":"a","payload":{},"orderingKey":"a\n"}"#),
        message(r#"{"eventType":"a","payload":{},"headers":{"Webhook-Id":"b"}}"#),
        message(r#"{"eventType":"a","payload":{},"payloadRetentionHours":5}"#),
        message("not json"),
        endpoint(r"{}"),
        endpoint(r#"{"url":"ftp://a/"}"#),
        endpoint(r#"{"url":"/relative"}"#),
        endpoint(r#"{"url":"http://user:secret@a/"}"#),
        endpoint(r#"{"url":"http://a/","eventTypes":[]}"#),
        endpoint(r#"{"url":"http://a/","eventTypes":["a"],"filterTypes":["b"]}"#),
        endpoint(r#"{"url":"http://a/","rateLimit":0}"#),
        endpoint(r#"{"url":"http://a/","rateLimit":5,"throttleRate":6}"#),
        endpoint(r#"{"url":"http://a/","headers":{"a":"b\r\nc: d"}}"#),
        endpoint(r#"{"url":"http://a/","headers":{"Host":"b"}}"#),
        endpoint(r#"{"url":"http://a/","headers":{"a":"b","A":"c"}}"#),
        endpoint(r#"{"url":"http://a/","ordering":"lifo"}"#),
        endpoint(r#"{"url":"http://a/","format":"xml"}"#),
        endpoint(r#"{"url":"http://a/","retrySchedule":[5,2592001]}"#),
        endpoint(r#"{"url":"http://a/","concurrency":0}"#),
        endpoint(r#"{"url":"http://a/","giveUpStatuses":[200]}"#),
        endpoint(r#"{"url":"http://a/","disableAfterSeconds":31536001}"#),
        endpoint(r#"{"url":"http://a/","startFrom":"yesterday"}"#),
        endpoint(r#"{"url":"http://a/","startFrom":-1}"#),
        endpoint(r#"{"url":"http://a/","disabled":"no"}"#),
        application(r#"{"name":""}"#),
        application(r#"{"name":"a","uid":"app_1"}"#),
        application(r#"{"name":"a","throttleRate":0}"#),
        access(r#"{"sessionId":""}"#),
        access(r#"{"capabilities":["ManageEndpoint"]}"#),
        access(r#"{"expiry":60}"#),
        access(r#"{"featureFlags":[""]}"#),
        application(&large),
        rotation(r#"{"gracePeriodSeconds":604801}"#),
        rotation(r#"{"gracePeriodSeconds":-1}"#),
    ];
    expect![[r#"
        body.eventType: field required
        body.payload: field required
        body.payload: must be an object
        body.payload: must be an object
        body.eventType: may hold only letters, digits, `-`, `_` and `.`, but holds ' '
        body.channels: must have 1 to 5 items, but has 0
        body.eventId: must not start with `msg_`
        body.payloadRetentionPeriod: retention is a setting of this server; only 90 is accepted
        body.deliverAt: must be a time as 2026-01-31T12:00:00Z
        body.transformationsParams: `rawPayload` in it must be a text
        body.transformationsParams: "mode" in it is not supported by this server
        body.transformationsParams: of `headers` in it, "a" is not supported by this server
        body.tags: "x y" may hold only letters, digits, `-`, `_` and `.`, but holds ' '
        body.orderingKey: must not hold control characters, but holds '\n'
        body.headers: "Webhook-Id" is set by the delivery itself
        body.payloadRetentionHours: is not supported by this server
        body: expected ident at line 1 column 2
        body.url: field required
        body.url: must start with `https://` or `http://`
        body.url: relative URL without a base
        body.url: must not hold a user name or a password
        body.eventTypes: must have 1 to 256 items, but has 0
        body.filterTypes: differs from `eventTypes`, its newer name
        body.rateLimit: must be 1 to 1000000 a second
        body.rateLimit: differs from `throttleRate`, its newer name
        body.headers: the value of "a" must have at most 4096 visible ASCII characters, with spaces inside only
        body.headers: "Host" is set by the delivery itself
        body.headers: has "a" twice
        body.ordering: must be one of `none`, `fifo`, `fifoByKey`
        body.format: must be one of `payload`, `cloudEventsBinary`, `cloudEventsStructured`
        body.retrySchedule: must have at most 999 delays of at most 2592000 seconds
        body.concurrency: must be 1 to 1000
        body.giveUpStatuses: must have at most 40 statuses from 300 to 599
        body.disableAfterSeconds: must be at most 31536000; 0 for never
        body.startFrom: must be `"beginning"`, a time as "2026-01-31T12:00:00Z", or an offset
        body.startFrom: must be `"beginning"`, a time as "2026-01-31T12:00:00Z", or an offset
        body.disabled: invalid type: string "no", expected a boolean
        body.name: must not be empty
        body.uid: must not start with `app_`
        body.throttleRate: must be 1 to 1000000 a second
        body.sessionId: must have 1 to 256 bytes without control characters
        body.capabilities: must have `ViewBase`, and at most 6 items
        body.expiry: must be 3600 to 2419200 seconds
        body.featureFlags: must have at most 32 texts of 1 to 256 bytes without control characters, 2048 bytes altogether
        body.metadata: has 4097 bytes, more than the limit of 4096
        body.gracePeriodSeconds: must be at most 604800
        body.gracePeriodSeconds: invalid value: integer `-1`, expected u64"#]]
    .assert_eq(&refusals.join("\n"));
    let secret = endpoint(r#"{"url":"http://a/","secret":"whsec_c2hvcnQtc2VjcmV0"}"#);
    assert!(
        secret.starts_with("body.secret: ") && !secret.contains("c2hvcnQ"),
        "{secret}"
    );
}

#[test]
fn nulls_and_defaults_pass() {
    let message = Bytes::from_static(
        br#"{"eventType":"a","payload":{"x":1},"eventId":null,"channels":null,"tags":[],
            "payloadRetentionPeriod":90,"transformationsParams":null,"deliverAt":null}"#,
    );
    assert_eq!(
        MessageIn::parse(&message).expect("passes").payload,
        &b"{\"x\":1}"[..]
    );
    let older = Bytes::from_static(br#"{"eventType":"a","data":{"x":1}}"#);
    assert_eq!(
        MessageIn::parse(&older).expect("passes").payload,
        &b"{\"x\":1}"[..]
    );
    let text = br#"{"url":"http://a","filterTypes":["a"],"eventTypes":null,"throttleRate":null,
        "headers":{},"version":1,"secret":null,"channels":null,"metadata":null,"description":null}"#;
    let endpoint = Fields::parse(text).and_then(|fields| EndpointIn::parse(&fields));
    let endpoint = endpoint.expect("passes");
    assert_eq!(endpoint.url.as_str(), "http://a/");
    assert_eq!(
        endpoint.filter.event_types.map(|types| types.len()),
        Some(1)
    );
}

#[test]
fn what_a_message_brings_is_taken_over() {
    let body = br#"{"eventType":"a","payload":{},"tags":["x","y"],"orderingKey":"customer/17",
        "headers":{"X-Trace":"1"},"transformationsParams":{"rawPayload":"<a/>",
        "headers":{"content-type":"text/xml"}}}"#;
    let new = MessageIn::parse(&Bytes::from_static(body)).expect("passes");
    assert_eq!(
        (new.payload.as_ref(), new.content_type.as_str()),
        (&b"<a/>"[..], "text/xml")
    );
    assert_eq!((new.tags.len(), new.headers.len()), (2, 1));
    assert_eq!(new.ordering_key.expect("is there").as_str(), "customer/17");
}

#[test]
fn a_content_type_has_the_same_bound_on_every_way_in() {
    let with = |length| {
        let kind = "x".repeat(length);
        let body = format!(
            r#"{{"eventType":"a","payload":{{}},"transformationsParams":{{"rawPayload":"",
            "headers":{{"content-type":"{kind}"}}}}}}"#
        );
        MessageIn::parse(&Bytes::from(body)).map(|new| new.content_type.len())
    };
    assert_eq!(with(256).expect("passes"), 256);
    assert!(with(257).is_err() && with(0).is_err());
    // What stands beside it is looked at, too.
    let list = br#"{"eventType":"a","payload":[1],"transformationsParams":{"rawPayload":""}}"#;
    assert!(MessageIn::parse(&Bytes::from_static(list)).is_err());
}

#[test]
fn policies_are_changed_field_by_field() {
    let patch = |text: &str| {
        let fields = Fields::parse(text.as_bytes()).expect("parses");
        super::policy::PolicyPatch::parse(&fields).expect("passes")
    };
    let mut policy = patch(
        r#"{"throttleRate":5,"retrySchedule":[5,300],"concurrency":2,"giveUpStatuses":[413,404,404],
            "disableAfterSeconds":0}"#,
    )
    .into_policy();
    let schedule = [0, 5, 300].map(Duration::from_secs);
    assert_eq!(policy.schedule.as_deref(), Some(&schedule[..]));
    assert_eq!(policy.give_up_statuses, Some(vec![404, 413]));
    patch(r#"{"rateLimit":7,"concurrency":null}"#).apply(&mut policy);
    assert_eq!(policy.throttle_rate.map(Into::into), Some(7_u32));
    assert_eq!(policy.concurrency, None);
    assert_eq!(policy.disable_after, Some(Duration::ZERO));
    // A PUT of someone who knows only the throttle keeps the rest.
    patch("{}").replacing().apply(&mut policy);
    assert_eq!(policy.throttle_rate, None);
    assert_eq!(policy.schedule.as_deref(), Some(&schedule[..]));
    patch(r#"{"retrySchedule":[]}"#).apply(&mut policy);
    check(
        &super::policy::PolicyOut::from(&policy),
        &expect![[r#"
        {
          "throttleRate": null,
          "rateLimit": null,
          "retrySchedule": [],
          "giveUpStatuses": [
            404,
            413
          ],
          "disableAfterSeconds": 0
        }"#]],
    );
}

#[test]
fn a_payload_that_is_most_of_its_body_is_not_copied() {
    let body = format!(
        r#"{{"eventType":"a","payload":{{"x":"{}"}}}}"#,
        "y".repeat(500)
    );
    let body = Bytes::from(body);
    let payload = MessageIn::parse(&body).expect("passes").payload;
    assert!(body.as_ptr_range().contains(&payload.as_ptr()));
    let padded = Bytes::from(format!(
        r#"{{"eventType":"a",{}"payload":{{}}}}"#,
        " ".repeat(500)
    ));
    let payload = MessageIn::parse(&padded).expect("passes").payload;
    assert!(!padded.as_ptr_range().contains(&payload.as_ptr()));
}
