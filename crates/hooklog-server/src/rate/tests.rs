//! Buckets: bursts, rates, what is given back, and how many there can be.
//!
//! **Invariant:** time is tokio's, which stands still but for what a test lets pass.
//! **Next:** `routes/tests/rates.rs`, the same over a socket.

use hooklog_storage::{ApplicationId, DEFAULT_ORGANISATION, Timestamp};
use tokio::time::advance;

use super::*;

fn organisation() -> Subject {
    Subject::Organisation(DEFAULT_ORGANISATION.parse().expect("an id"))
}

fn application(number: u32) -> Subject {
    let mut bytes = [0; 15];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Subject::Application {
        application: ApplicationId::new(Timestamp::from_millis(0), bytes),
        organisation: DEFAULT_ORGANISATION.parse().expect("an id"),
    }
}

fn rates(limit: &str) -> Rates {
    let limit = Some(limit.parse().expect(limit));
    Rates::new(RateLimits {
        organisation: limit,
        application: limit,
    })
}

fn charge(rates: &Rates, subject: Subject, class: Class) -> Charge {
    let charged = rates.charge(subject, class).expect("there is room");
    charged.expect("is limited")
}

fn read(rates: &Rates) -> Charge {
    charge(rates, organisation(), Class::Read)
}

#[test]
fn limits_are_texts() {
    let cases = [
        ("100/s", "100/s,100"),
        ("100/s,200", "100/s,200"),
        (" 6 / m , 1 ", "6/m,1"),
        ("3600/h", "3600/h,3600"),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<RateLimit>().expect(text).to_string(), expected);
    }
    for text in [
        "", "100", "0/s", "1/s,0", "-1/s", "1/d", "1/s,", "1/s,2,3", "1.5/s", "x/s",
    ] {
        assert!(text.parse::<RateLimit>().is_err(), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_and_then_the_rate() {
    let rates = rates("10/s,3");
    for left in [2, 1, 0] {
        let charge = read(&rates);
        assert_eq!((charge.left, charge.wait), (left, None));
    }
    assert_eq!(read(&rates).wait, Some(Duration::from_millis(100)));
    // Others have their own: another class, another subject.
    assert_eq!(charge(&rates, organisation(), Class::Publish).left, 2);
    assert_eq!(charge(&rates, application(1), Class::Read).left, 2);
    advance(Duration::from_millis(99)).await;
    assert_eq!(read(&rates).wait, Some(Duration::from_millis(1)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(read(&rates).wait, None);
    assert!(read(&rates).wait.is_some());
    let mut taken = 0;
    for _ in 0..1_000 {
        advance(Duration::from_millis(10)).await;
        taken += u32::from(read(&rates).wait.is_none());
    }
    assert_eq!(taken, 100, "ten seconds of ten");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_counts_once_and_never_beyond_the_burst() {
    let rates = rates("1/s,3");
    // A poller that is always answered 304 is never held up.
    for _ in 0..1_000 {
        let mut charge = read(&rates);
        assert_eq!((charge.left, charge.wait), (2, None));
        rates.refund(&mut charge);
        assert_eq!(charge.left, 3);
    }
    // Nor does it save anything: what it has is its burst.
    advance(Duration::from_hours(1)).await;
    for left in [2, 1, 0] {
        assert_eq!(read(&rates).left, left);
    }
    let mut refused = read(&rates);
    assert_eq!(refused.wait, Some(Duration::from_secs(1)));
    // One of them back is one more, now.
    let mut other = Charge {
        wait: None,
        ..refused
    };
    rates.refund(&mut other);
    refused = read(&rates);
    assert_eq!((refused.left, refused.wait), (0, None));
    assert!(read(&rates).wait.is_some());
}

/// Held against a bucket by the book, in random order.
#[tokio::test(start_paused = true)]
async fn a_bucket_is_one_by_the_book() {
    const BURST: f64 = 5.0;
    let rates = rates("10/s,5");
    let (mut level, mut random) = (BURST, 7_u32);
    let mut charges = Vec::new();
    for step in 0..5_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match random >> 30 {
            0 => {
                let tenths = (random >> 8) % 4;
                advance(Duration::from_millis(100) * tenths).await;
                level = (level + f64::from(tenths)).min(BURST);
            }
            1 => {
                if let Some(mut charge) = charges.pop() {
                    rates.refund(&mut charge);
                    level = (level + 1.0).min(BURST);
                }
            }
            _ => {
                let charge = read(&rates);
                assert_eq!(charge.wait.is_none(), level >= 1.0, "step {step}: {level}");
                if charge.wait.is_none() {
                    level -= 1.0;
                    assert!((f64::from(charge.left) - level).abs() < 1e-6, "step {step}");
                    charges.push(charge);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_buckets() {
    let rates = rates("1/s,2");
    for number in 0..u32::try_from(BUCKETS_MAX).expect("fits") {
        charge(&rates, application(number), Class::Read);
    }
    let late = application(u32::MAX);
    assert!(matches!(
        rates.charge(late, Class::Read),
        Err(ApiError::Busy(_))
    ));
    // Those who are there go on.
    assert_eq!(charge(&rates, application(7), Class::Read).left, 0);
    advance(Duration::from_secs(1)).await;
    charge(&rates, late, Class::Read);
    assert_eq!(
        rates.table.lock().buckets.len(),
        2,
        "the one that is not full, and the new one"
    );
    let state = charge(&rates, application(7), Class::Read);
    assert_eq!(state.left, 0, "kept what it had");
}

#[tokio::test(start_paused = true)]
async fn answers_say_what_is_left() {
    let rates = rates("10/s,25");
    let say = |charge: &Charge| {
        let mut headers = HeaderMap::new();
        charge.tell(&mut headers);
        [POLICY, LEFT].map(|name| headers[name].to_str().expect("text").to_owned())
    };
    let [policy, left] = say(&read(&rates));
    assert_eq!(policy, "\"read\";q=25;w=3");
    assert_eq!(left, "\"read\";r=24;t=1");
    for _ in 0..24 {
        read(&rates);
    }
    assert_eq!(say(&read(&rates))[1], "\"read\";r=0;t=1");
    let publish = charge(
        &rates,
        organisation(),
        Class::of("/app/{app}/msg", &Method::POST),
    );
    assert_eq!(say(&publish)[0], "\"publish\";q=25;w=3");
    assert_eq!(Class::of("/app/{app}/msg", &Method::GET), Class::Read);
    assert_eq!(Class::of("/app/{app}", &Method::POST), Class::Write);
    let none = Rates::new(RateLimits::default());
    assert!(
        none.charge(organisation(), Class::Read)
            .expect("room")
            .is_none()
    );
    assert!(
        none.charge(Subject::Operator, Class::Read)
            .expect("room")
            .is_none()
    );
}
