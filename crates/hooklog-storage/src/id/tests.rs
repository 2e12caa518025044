use proptest::prelude::*;

use super::*;

#[test]
fn the_default_organisation_of_the_compatible_api_parses_and_prints() {
    let text = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";
    let id: OrganisationId = text.parse().unwrap();
    assert_eq!(id.to_string(), text);
    // 2022-01-18, when that constant was made.
    assert_eq!(id.timestamp().as_secs() / 86_400, 19_010);
}

#[test]
fn wrong_texts_are_refused_with_the_reason() {
    let cases = [
        (
            "app_23rb8YdGqMT0qIzpgGwdXfHirMu",
            IdError::Prefix { expected: "org_" },
        ),
        ("org_23rb8Y", IdError::Length { found: 6 }),
        ("org_23rb8YdGqMT0qIzpgGwdXfHirM-", IdError::Alphabet),
        ("org_zzzzzzzzzzzzzzzzzzzzzzzzzzz", IdError::Alphabet),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<OrganisationId>(), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn text_round_trips_and_keeps_the_order(a: [u8; 20], b: [u8; 20]) {
        let (a, b) = (EventId::from_bytes(a), EventId::from_bytes(b));
        prop_assert_eq!(a.to_string().parse::<EventId>().unwrap(), a);
        prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
    }

    #[test]
    fn an_event_id_carries_time_and_offset(millis in 1_400_000_000_000_i64..5_000_000_000_000, offset: u64, tail: [u8; 7]) {
        let id = EventId::at(Timestamp::from_millis(millis), Offset::new(offset), tail);
        prop_assert_eq!(id.offset().get(), offset);
        prop_assert_eq!(id.timestamp().as_millis(), millis / 4 * 4);
    }
}

proptest! {
    /// Ids that differ late, or by one, are where an order of texts would break first.
    #[test]
    fn neighbours_keep_their_order_as_texts(bytes: [u8; 20], at in 0_usize..20, add in 1_u8..3) {
        let mut above = bytes;
        above[at] = above[at].wrapping_add(add);
        let (a, b) = (SubscriptionId::from_bytes(bytes), SubscriptionId::from_bytes(above));
        prop_assert_eq!(a.to_string().cmp(&b.to_string()), bytes.cmp(&above));
        prop_assert_eq!(a.to_string().len(), SubscriptionId::PREFIX.len() + CHARS);
    }

    /// Later events have higher ids, whatever their random tails are.
    #[test]
    fn ids_sort_as_the_log_does(
        millis in 1_400_000_000_000_i64..5_000_000_000_000,
        later in 0_i64..10_000,
        offset in 0..u64::MAX,
        tails: [[u8; 7]; 2],
    ) {
        let first = EventId::at(Timestamp::from_millis(millis), Offset::new(offset), tails[0]);
        let second = EventId::at(
            Timestamp::from_millis(millis + later),
            Offset::new(offset + 1),
            tails[1],
        );
        prop_assert!(first < second);
        prop_assert!(first.to_string() < second.to_string());
    }

    /// A text that is an id is the text of that id: no two texts name the same thing.
    #[test]
    fn a_text_that_parses_is_printed_again(text in "(msg_)?[0-9A-Za-z]{26,28}|.{0,40}") {
        if let Ok(id) = text.parse::<EventId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
