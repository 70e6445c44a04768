//! Nothing of others is damaged.

use std::time::Duration;

use leasehold_core::store::Store as _;
use leasehold_core::{Attempt, Displace, ErrorKind, LeaseName, Request};

use crate::harness::Harness;

/// Records that read as fleet read them.
const FLEET: [(&[u8], &str, i64); 5] = [
    (br#"{"MachineID":"XXX","Version":9}"#, "XXX", 9),
    (br#"{"MachineID":"XXX"}"#, "XXX", 0),
    (b"bare-machine", "bare-machine", 0),
    // Cut off half-way: fleet takes it for a bare machine id.
    (br#"{"MachineID":"XX"#, r#"{"MachineID":"XX"#, 0),
    (
        br#"{"MachineID":"XXX","Version":9,"Extra":[1,{}]}"#,
        "XXX",
        9,
    ),
];

/// Records that can only count as held.
const STRANGE: [&[u8]; 4] = [
    br#"{"MachineID":"m","Version":0,"needs":99,"index":5,"period":1}"#,
    br#"{"needs":99}"#,
    b"\xff\xfe\x00",
    br#"{"other":"thing"}"#,
];

async fn busy(h: &Harness, name: &str) -> leasehold_core::Busy {
    match h
        .a
        .manager
        .try_acquire(Request::new(name, h.long()))
        .await
        .unwrap()
    {
        Attempt::Busy(busy) => busy,
        other => panic!("overwrote a foreign record: {other:?}"),
    }
}

/// A record that reads as fleet read it is a held lease (fence = index) that acquire finds held.
pub async fn nothing_of_others_damaged_fleets_records_are_held(h: Harness) {
    for (i, (bytes, id, version)) in FLEET.into_iter().enumerate() {
        let name = format!("x{i}");
        h.plant(&name, bytes).await;
        let busy = busy(&h, &name).await;
        assert_eq!(busy.holder(), Some(id));
        assert_eq!(busy.left(), None, "nobody knows its end");
        let lease = h.b.manager.get_lease(&name).await.unwrap().expect("held");
        assert_eq!((&*lease.machine_id(), lease.version()), (id, version));
        assert_eq!(lease.fence(), lease.index());
        assert_eq!(lease.time_remaining(), Duration::MAX);
        assert!(!lease.is_current());
        // Nor does it ever run out.
        if h.is_simulated() {
            h.sleep(Duration::from_secs(100_000)).await;
            assert!(
                h.a.manager
                    .acquire_lease(&name, "m", 0, h.long())
                    .await
                    .unwrap()
                    .is_none()
            );
        }
    }
}

/// What cannot be read, or needs a newer reader, counts as held, and an error says what was found.
pub async fn nothing_of_others_damaged_the_unreadable_is_left_alone(h: Harness) {
    for (i, bytes) in STRANGE.into_iter().enumerate() {
        let name = format!("x{i}");
        h.plant(&name, bytes).await;
        let before = h.b.manager.status(&name).await.unwrap().expect("there");
        assert!(before.is_held() && before.is_foreign());
        let index = before.index();
        let m = &h.a.manager;
        let foreign = |error: leasehold_core::Error| {
            assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
        };
        foreign(m.acquire_lease(&name, "m", 0, h.long()).await.unwrap_err());
        foreign(m.get_lease(&name).await.unwrap_err());
        foreign(
            m.steal_lease(&name, "m", 0, h.long(), index)
                .await
                .unwrap_err(),
        );
        foreign(
            m.break_lease(&name, Displace::index(index))
                .await
                .unwrap_err(),
        );
        foreign(m.resume(&name, index).await.unwrap_err());
        let newer = before
            .foreign_because()
            .is_some_and(|why| why.contains("99"));
        if newer {
            let dead = Displace::index(index)
                .assume_dead("not even so: it may mean more than we can read");
            foreign(
                m.steal(Request::new(&name, h.long()), dead)
                    .await
                    .unwrap_err(),
            );
        }
        let after = h.b.manager.status(&name).await.unwrap().expect("there");
        assert_eq!(after.index(), index, "untouched");
        if !newer {
            let refused = m.steal_lease(&name, "m", 0, h.long(), index).await;
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("no lease"), "says what was found: {error}");
            let dead = Displace::index(index).assume_dead("whatever it is, nobody works by it");
            let lease = m.steal(Request::new(&name, h.long()), dead).await.unwrap();
            assert!(lease.is_current());
            lease.release().await.unwrap();
        }
    }
}

/// A foreign term has no known end: it is displaced only by who asserts that its lessee is dead.
pub async fn nothing_of_others_damaged_foreign_terms_need_an_assertion(h: Harness) {
    h.plant("x", FLEET[0].0).await;
    let index =
        h.b.manager
            .get_lease("x")
            .await
            .unwrap()
            .expect("held")
            .index();
    let m = &h.a.manager;
    let refused = m.steal_lease("x", "m", 0, h.long(), index).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Foreign);
    let refused = m.break_lease("x", Displace::index(index)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Foreign);
    let dead = Displace::index(index).assume_dead("fleet was switched off");
    let lease = m.steal(Request::new("x", h.long()), dead).await.unwrap();
    assert!(lease.is_current());
    assert!(lease.fence() > index && lease.index() > index);
    lease.release().await.unwrap();
    drop(h.b.take("x", h.long()).await);
}

/// A fetched foreign lease is released or renewed by nobody: it would be over before its lessee knows.
pub async fn nothing_of_others_damaged_by_a_proxys_release_or_renewal(h: Harness) {
    h.plant("x", FLEET[0].0).await;
    let mut proxy = h.a.manager.get_lease("x").await.unwrap().expect("held");
    assert_eq!(
        proxy.renew(h.short()).await.unwrap_err().kind(),
        ErrorKind::Foreign
    );
    assert_eq!(
        proxy.release().await.unwrap_err().kind(),
        ErrorKind::Foreign
    );
    assert_eq!(busy(&h, "x").await.holder(), Some("XXX"));
}

/// Who presents a foreign term's fence claims it.
pub async fn nothing_of_others_damaged_a_foreign_term_can_be_claimed(h: Harness) {
    h.plant("x", FLEET[0].0).await;
    let index =
        h.b.manager
            .get_lease("x")
            .await
            .unwrap()
            .expect("held")
            .index();
    let mut claim = h.a.manager.resume("x", index).await.unwrap();
    claim.renew(h.long()).await.unwrap();
    assert!(claim.is_current());
    assert_eq!(claim.fence(), index);
    assert_eq!((&*claim.machine_id(), claim.version()), ("XXX", 9));
    claim.release().await.unwrap();
}

/// Fields that this version does not know are ignored and kept.
pub async fn nothing_of_others_damaged_unknown_fields_are_kept(h: Harness) {
    let bytes = br#"{"MachineID":"m","Version":1,"needs":1,"period":1000,"hold":1000,"zebra":{"stripes":[1,2]}}"#;
    h.plant("x", bytes).await;
    let status = h.a.manager.status("x").await.unwrap().expect("there");
    assert_eq!(status.machine_id(), Some("m"));
    let name = LeaseName::new("x").unwrap();
    let zebra = async || {
        let until = h.b.door.now().plus(Duration::from_secs(10));
        let seen = h.b.faulty.get(&name, until).await.unwrap().expect("there");
        seen.record
            .body
            .unknown
            .get("zebra")
            .map(ToString::to_string)
    };
    assert_eq!(zebra().await.as_deref(), Some(r#"{"stripes":[1,2]}"#));
    let mut lease = if status.is_held() {
        let dead = Displace::index(status.index()).assume_dead("test");
        h.a.manager
            .steal(Request::new("x", h.long()), dead)
            .await
            .unwrap()
    } else {
        h.a.take("x", h.long()).await
    };
    assert!(zebra().await.is_some());
    lease.renew(h.long()).await.unwrap();
    assert!(zebra().await.is_some());
    lease.release().await.unwrap();
    assert!(zebra().await.is_some());
    drop(h.b.take("x", h.long()).await);
    assert!(zebra().await.is_some());
}

/// A foreign record under one name does not disturb lists and watches of others.
pub async fn nothing_of_others_damaged_lists_go_on(h: Harness) {
    drop(h.a.take("l/a", h.long()).await);
    h.plant("l/b", STRANGE[0]).await;
    h.plant("l/c", STRANGE[2]).await;
    h.plant("l/d", FLEET[0].0).await;
    drop(h.a.take("l/e", h.long()).await);
    let listed = h.b.manager.list("l").unwrap().collect().await.unwrap();
    let names: Vec<&str> = listed.iter().map(|s| s.name().as_str()).collect();
    assert_eq!(names, ["l/a", "l/b", "l/c", "l/d", "l/e"]);
    assert!(listed[1].is_foreign() && listed[1].is_held());
}
