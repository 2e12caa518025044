use super::*;

/// The whole meta, as the codec would write it.
#[derive(Serialize)]
struct MetaRef<'a> {
    id: &'a EventId,
    timestamp: Timestamp,
    application: ApplicationId,
    event_type: &'a EventTypeName,
    end: EndRef<'a>,
}

/// An event that has each of what few have by the bits of a number.
fn record(bits: u32, rng: &mut fastrand::Rng) -> Record {
    let mut bytes = [0; 20];
    rng.fill(&mut bytes);
    let application = ApplicationId::from_bytes(bytes);
    rng.fill(&mut bytes);
    let name = "invoice.paid".repeat(rng.usize(1..5));
    let mut event = Event::new(
        application,
        name.parse().unwrap(),
        vec![b'7'; rng.usize(..99)],
    );
    let has = |bit: u32| bits & (1 << bit) != 0;
    if has(0) {
        event.channels = vec!["red".parse().unwrap(), "blue".parse().unwrap()];
    }
    event.uid = has(1).then(|| "order-1".parse().unwrap());
    if has(2) {
        event.content_type = "text/xml".to_owned();
    }
    event.idempotency = has(3).then(|| IdempotencyKey::new(&[b"a"], "key", b"{}"));
    if has(4) {
        event.tags = vec!["tag".parse().unwrap()];
    }
    event.ordering_key = has(5).then(|| "customer-1".parse().unwrap());
    if has(6) {
        event.headers = vec![Header::new("traceparent", "00-1").unwrap()];
    }
    event.only = has(7).then(|| SubscriptionId::from_bytes(bytes));
    event.deliver_at = has(8).then(|| Timestamp::from_millis(rng.i64(..)));
    let offset = Offset::new(rng.u64(..));
    let timestamp = Timestamp::from_millis(rng.i64(..));
    let id = EventId::from_bytes(bytes);
    Record {
        offset,
        id,
        timestamp,
        event,
    }
}

#[test]
fn the_bytes_are_those_of_the_codec_and_are_read_back() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut sizes = Vec::new();
    for bits in 0..1 << 9 {
        let record = record(bits, &mut rng);
        let mut out = vec![9; 3];
        encode(&record, &mut out).unwrap();
        let body = Bytes::from(out).slice(3..);
        let meta = MetaRef {
            id: &record.id,
            timestamp: record.timestamp,
            application: record.event.application,
            event_type: &record.event.event_type,
            end: EndRef::of(&record.event),
        };
        let expected = codec::encode(&meta).unwrap();
        let (spans, end) = spans(&body, 1).unwrap();
        assert_eq!(end, body.len());
        assert_eq!(body[spans[0].meta.clone()], expected, "{bits:b}");
        assert_eq!(decode(&body, &spans[0], record.offset).unwrap(), record);
        assert!(body.len() <= estimate(&record.event) + 8, "{bits:b}");
        sizes.push(expected.len() - record.event.event_type.as_str().len());
    }
    assert_eq!(sizes[0], 20 + 8 + 20 + 8 + EMPTY_END.len());
    assert!(sizes[1..].iter().all(|size| *size > sizes[0]));
}
