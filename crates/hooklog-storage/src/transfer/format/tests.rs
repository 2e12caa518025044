use super::*;
use crate::testing::assert_golden;

#[test]
fn the_bytes_of_a_backup_are_golden() {
    let since = BackupPoint {
        events: Offset::new(5_120),
        events_crc: 0x0a1b_2c3d,
        attempts: AttemptSeq::new(77),
        attempts_crc: 7,
    };
    let rows_of = vec![
        Row {
            family: Family::Cursor,
            key: vec![1; 20],
            value: b"cursor".as_slice().into(),
        },
        Row {
            family: Family::Cursor,
            key: vec![2; 20],
            value: b"".as_slice().into(),
        },
    ];
    let mut bytes = Header { since: Some(since) }.encode();
    bytes.extend(block(
        Tag::State,
        &crate::codec::encode(&State::default()).unwrap(),
    ));
    let body = rows(Family::Cursor, &rows_of);
    assert_eq!(parse_rows(&body.clone().into()).unwrap(), rows_of);
    bytes.extend(block(Tag::Rows, &body));
    let done = Done {
        rows: 2,
        bytes: bytes.len() as u64,
        crc: crc32c::crc32c(&bytes),
    };
    bytes.extend(block(Tag::Done, &done.encode()));
    assert_golden("backup.hex", &bytes);
    let decoded = Header::decode(&bytes[..HEADER_BYTES]).unwrap();
    assert_eq!(decoded, Header { since: Some(since) });
    let full = Header { since: None };
    assert_eq!(Header::decode(&full.encode()).unwrap(), full);
}

#[test]
fn points_are_texts_and_back() {
    let point = BackupPoint {
        events: Offset::new(u64::MAX),
        events_crc: 1,
        attempts: AttemptSeq::new(0),
        attempts_crc: u32::MAX,
    };
    assert_eq!(point.to_string().parse(), Ok(point));
    for wrong in [
        "",
        "1",
        "1-2-3",
        "1-2-3-4-5",
        "x-0-0-0",
        "1-zz-0-0",
        "-1-0-0-0",
    ] {
        assert_eq!(
            wrong.parse::<BackupPoint>(),
            Err(BackupPointError),
            "{wrong}"
        );
    }
}
