//! Lists of what came since a time.
//!
//! **Invariant:** one that asks for them again and again misses nothing.
//! **Next:** `access.rs`.

use serde_json::json;

use super::end_to_end::{APPS, application, ids, publish};
use super::harness::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_since_a_time_is_listed_from_the_oldest_on() {
    let server = Harness::start().await;
    application(&server, "a").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(publish(&server, "a", json!({ "eventType": "x", "payload": {} })).await);
    }
    let since = format!("{APPS}/a/msg?limit=2&after=2020-01-01T00:00:00Z");
    let first = server.get(&since).await.is(200).body;
    assert_eq!(ids(&first), [made[1].clone(), made[0].clone()]);
    assert_eq!(first["done"], false);
    let mut newer = first["prevIterator"].as_str().expect("more").to_owned();
    for expected in [vec![&made[3], &made[2]], vec![&made[4]]] {
        let page = server.get(&format!("{since}&iterator={newer}")).await;
        let page = page.is(200).body;
        assert_eq!(ids(&page).iter().collect::<Vec<_>>(), expected);
        assert_eq!(page["done"], expected.len() == 1);
        newer = page["prevIterator"].as_str().expect("a way on").to_owned();
    }
    let older = format!("{since}&iterator={}", made[2]);
    let page = server.get(&older).await.is(200).body;
    assert_eq!(ids(&page), [made[1].clone(), made[0].clone()]);
    let both = format!("{since}&before=2200-01-01T00:00:00Z");
    let page = server.get(&both).await.is(200).body;
    assert_eq!(ids(&page), [made[4].clone(), made[3].clone()]);
    server.stop().await;
}
