use super::*;

#[test]
fn durations_parse_and_print() {
    let cases = [
        ("15s", Ok((15_000, "15s"))),
        ("0s", Ok((0, "0s"))),
        ("1h30m", Ok((5_400_000, "1h30m"))),
        (" 1 h 30 min ", Ok((5_400_000, "1h30m"))),
        ("90m", Ok((5_400_000, "1h30m"))),
        ("28d", Ok((28 * 86_400_000, "28d"))),
        ("28days", Ok((28 * 86_400_000, "28d"))),
        ("1500ms", Ok((1_500, "1s500ms"))),
        (
            "",
            Err("\"\" is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m"),
        ),
        (
            "15",
            Err("\"15\" is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m"),
        ),
        (
            "s",
            Err("\"s\" is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m"),
        ),
        (
            "-5s",
            Err("\"-5s\" is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m"),
        ),
        (
            "5y",
            Err("\"5y\" is no duration; write it as 500ms, 15s, 5m, 2h, 28d or 1h30m"),
        ),
        (
            "36501d",
            Err("\"36501d\" is longer than the limit of 36500d"),
        ),
    ];
    for (text, expected) in cases {
        let parsed = text.parse::<HumanDuration>();
        match expected {
            Ok((millis, printed)) => {
                let parsed = parsed.unwrap();
                assert_eq!(parsed.0, Duration::from_millis(millis), "{text:?}");
                assert_eq!(parsed.to_string(), printed);
                assert_eq!(printed.parse(), Ok(parsed));
            }
            Err(message) => assert_eq!(parsed.unwrap_err().to_string(), message),
        }
    }
}

#[test]
fn sizes_parse_and_print() {
    let cases = [
        ("65535", Some((65_535, "65535"))),
        ("0", Some((0, "0"))),
        ("64KiB", Some((65_536, "64KiB"))),
        ("2 MiB", Some((2 << 20, "2MiB"))),
        ("2048K", Some((2 << 20, "2MiB"))),
        ("10B", Some((10, "10"))),
        ("2MB", None),
        ("2MiB!", None),
        ("-1", None),
        ("", None),
        ("99999999999999999999", None),
        ("99999999999999GiB", None),
    ];
    for (text, expected) in cases {
        let parsed = text.parse::<ByteSize>();
        match expected {
            Some((bytes, printed)) => {
                assert_eq!(parsed, Ok(ByteSize(bytes)), "{text:?}");
                assert_eq!(ByteSize(bytes).to_string(), printed);
                assert_eq!(printed.parse(), Ok(ByteSize(bytes)));
            }
            None => assert_eq!(
                parsed,
                Err(UnitError::Size {
                    found: text.to_owned()
                })
            ),
        }
    }
}
