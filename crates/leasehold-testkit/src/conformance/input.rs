//! Hostile names, ids and data; and the declared bounds.

use std::time::Duration;

use leasehold_core::{
    Attempt, ErrorKind, LeaseName, MAX_DATA_BYTES, MAX_MACHINE_ID_BYTES, Request,
};

use crate::harness::Harness;

/// Names that a store must keep apart, whatever they mean elsewhere.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "a",
        "A",
        "a%",
        "a_",
        "a*",
        "a?",
        "a b",
        " a",
        "a ",
        "a'b",
        "a\"b",
        "a;b",
        "a--b",
        "a\\b",
        "a$b",
        "%61",
        "a%2Fb",
        "a/b",
        "a:b",
        "a.b",
        "...",
        "-a",
        "ä",
        "a\u{308}",
        "日本語",
        "🦀",
        "null",
        "0",
        "'); drop table x; --",
        "{}",
        "[a]",
        "<a>",
        "a|b",
        "a&b",
        "a=b",
        "a,b",
        "a@b",
        "#a",
        "lpt1",
        "con",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(512));
    names.push(vec!["y"; 256].join("/"));
    names
}

/// Hostile names are kept apart, come back as they were given, and are listed.
pub async fn hostile_names_are_kept_apart(h: Harness) {
    let names = hostile();
    let mut accepted = Vec::new();
    for name in &names {
        let lease =
            h.a.manager
                .acquire_lease(name, name.trim().get(..1).unwrap_or("m"), 0, h.long())
                .await;
        // A store may refuse what it cannot spell, but not the portable ones, and not by confusing it with another.
        match lease {
            Ok(Some(lease)) => {
                assert_eq!(lease.name().as_str(), name);
                accepted.push(name.clone());
            }
            Ok(None) => panic!("{name:?} was taken for another"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}: {error}"),
        }
    }
    let listed = h.b.manager.list("").unwrap().collect().await.unwrap();
    let portable = |name: &&String| LeaseName::new(name).unwrap().is_portable();
    assert!(
        names
            .iter()
            .filter(portable)
            .all(|name| accepted.contains(name))
    );
    let mut expected = accepted;
    expected.sort_unstable();
    let listed: Vec<&str> = listed.iter().map(|s| s.name().as_str()).collect();
    assert_eq!(listed, expected);
}

/// Names that are none are refused before anything is sent.
pub async fn hostile_names_that_are_none_are_refused(h: Harness) {
    let long = "x".repeat(513);
    for name in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "a/..",
        "a\nb",
        "a\0b",
        "~ours",
        "a/~x",
        "a\u{202e}b",
        &long,
    ] {
        let m = &h.a.manager;
        let kinds = [
            m.acquire_lease(name, "m", 0, h.long())
                .await
                .map(drop)
                .unwrap_err()
                .kind(),
            m.get_lease(name).await.map(drop).unwrap_err().kind(),
            m.steal_lease(name, "m", 0, h.long(), 1)
                .await
                .map(drop)
                .unwrap_err()
                .kind(),
            m.status(name).await.map(drop).unwrap_err().kind(),
            m.watch(name).map(drop).unwrap_err().kind(),
        ];
        assert!(
            kinds.iter().all(|kind| *kind == ErrorKind::InvalidInput),
            "{name:?}: {kinds:?}"
        );
    }
    assert!(h.a.faulty.sent().is_empty());
}

/// Hostile machine ids, notes and data come back as they were given.
pub async fn hostile_ids_notes_and_data_come_back(h: Harness) {
    let ids = [
        "'",
        "\"}",
        "\\",
        "🦀",
        "{\"MachineID\":\"x\"}",
        " ",
        "null",
        &"m".repeat(MAX_MACHINE_ID_BYTES),
    ];
    let every_byte: Vec<u8> = (0..=255).collect();
    let datas = [Vec::new(), every_byte, vec![0xff; MAX_DATA_BYTES]];
    for (i, id) in ids.into_iter().enumerate() {
        let data = datas[i % datas.len()].clone();
        let name = format!("x{i}");
        let request = Request::new(&name, h.long())
            .machine_id(id)
            .version(i64::MIN)
            .note(id)
            .data(data.clone());
        let Attempt::Acquired(lease) = h.a.manager.try_acquire(request).await.unwrap() else {
            panic!("free");
        };
        let seen = h.b.manager.get_lease(&name).await.unwrap().expect("held");
        for lease in [&lease, &seen] {
            assert_eq!(lease.machine_id(), id);
            assert_eq!(lease.version(), i64::MIN);
            assert_eq!(lease.note().as_deref(), Some(id));
            assert_eq!(lease.data().as_deref(), Some(&*data));
        }
        let thief =
            h.b.manager
                .steal_lease(&name, "m", i64::MAX, h.long(), seen.index())
                .await
                .unwrap();
        let seen = h.a.manager.get_lease(&name).await.unwrap().expect("held");
        assert_eq!((seen.version(), thief.version()), (i64::MAX, i64::MAX));
        assert_eq!((seen.note(), seen.data()), (None, None));
    }
}

/// Ids, notes and data that are too long or unprintable are refused before anything is sent.
pub async fn hostile_ids_notes_and_data_that_are_none_are_refused(h: Harness) {
    let m = &h.a.manager;
    let ok = || Request::new("x", h.long());
    let requests = [
        ok().machine_id(""),
        ok().machine_id("a\nb"),
        ok().machine_id("a\u{1b}[31m"),
        ok().machine_id("m".repeat(MAX_MACHINE_ID_BYTES + 1)),
        ok().note("a\0"),
        ok().note("n".repeat(1025)),
        ok().data(vec![0; MAX_DATA_BYTES + 1]),
    ];
    for request in requests {
        let shown = format!("{request:?}").chars().take(80).collect::<String>();
        let error = m.try_acquire(request).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{shown}");
    }
    let lease = h.b.take("held", h.long()).await;
    for reason in ["a\nb", &"r".repeat(5000)] {
        let displace = leasehold_core::Displace::index(lease.index()).assume_dead(reason);
        let error = m.break_lease("held", displace).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(h.a.faulty.sent().is_empty());
}

/// Periods outside the declared bounds are refused before anything is sent; those at the bounds are granted.
pub async fn assumptions_declared_periods_are_granted(h: Harness) {
    let c = h.capabilities();
    let m = &h.a.manager;
    let mut lease = h.a.take("x", h.long()).await;
    let sent = h.a.faulty.sent().len();
    let bad = [
        Duration::ZERO,
        c.least_period - Duration::from_nanos(1),
        c.greatest_period + Duration::from_nanos(1),
        Duration::MAX,
    ];
    for period in bad {
        let error = m
            .acquire_lease("y", "m", 0, period)
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{period:?}");
        let error = lease.renew(period).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{period:?}");
        assert!(lease.is_current(), "a refused input costs nothing");
    }
    assert_eq!(h.a.faulty.sent().len(), sent);
    let greatest = h.a.take("greatest", c.greatest_period).await;
    assert!(greatest.is_current());
    assert!(
        h.b.manager
            .get_lease("greatest")
            .await
            .unwrap()
            .expect("held")
            .time_remaining()
            >= c.greatest_period / 2
    );
    lease.renew(c.greatest_period).await.unwrap();
    assert!(lease.is_current());
    drop(
        m.acquire_lease("least", "m", 0, c.least_period)
            .await
            .unwrap(),
    );
}

/// What a store declares is consistent.
pub async fn assumptions_declared_are_consistent(h: Harness) {
    let c = h.capabilities();
    assert!(c.batch >= 1);
    assert!(c.least_period <= c.greatest_period);
    assert!(c.margin(h.short()) < h.short());
    assert_eq!(&c, h.b.manager.capabilities());
    assert!(!h.a.manager.location().is_empty());
}

/// A batch as large as declared is applied change by change, in order, one outcome each.
pub async fn assumptions_declared_batch_is_applied(h: Harness) {
    let count = h.capabilities().batch.min(200);
    let mut leases = Vec::new();
    for i in 0..count {
        leases.push(h.a.take(&format!("x/{i}"), h.long()).await);
    }
    let before: Vec<u64> = leases.iter().map(leasehold_core::Lease::index).collect();
    for result in h.a.manager.renew_all(leases.iter_mut(), h.long()).await {
        result.unwrap();
    }
    for (i, lease) in leases.iter().enumerate() {
        assert!(lease.index() > before[i]);
        let seen =
            h.b.manager
                .get_lease(format!("x/{i}"))
                .await
                .unwrap()
                .expect("held");
        assert_eq!(seen.index(), lease.index());
    }
}
