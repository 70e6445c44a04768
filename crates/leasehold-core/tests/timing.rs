//! What `Timing` states is what leases do: simulated outages just below and above what is tolerated, take-overs, renewals.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{
    Capabilities, Delivery, Door, Drift, ErrorKind, KeepAlive, LockAttempt, Manager, MemoryStore,
    Timing, TimingSettings,
};
use leasehold_testkit::sim::Sim;
use leasehold_testkit::{Fault, Faulty};
use world::World;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(12);

fn timing(period: Duration, change: impl FnOnce(&mut Capabilities)) -> Timing {
    let mut capabilities = Capabilities::local();
    change(&mut capabilities);
    Timing::new(period, &capabilities, TimingSettings::new()).unwrap()
}

/// A lease that is kept alive, and an outage of the registry that begins so long after it was acquired.
#[derive(Clone, Copy)]
struct Outage {
    drift: Drift,
    period: Duration,
    timeout: Duration,
    fault: Fault,
    begins: Duration,
    length: Duration,
}

impl Outage {
    /// Whether the lease is lost.
    fn loses(self, seed: u64) -> bool {
        let sim = Sim::new(seed);
        let door = sim.door();
        let faulty = Faulty::new(Arc::new(MemoryStore::new(door.clone())), door.clone());
        faulty.drift(self.drift);
        let manager = Manager::builder(Arc::new(faulty.clone()), door.clone())
            .timeout(self.timeout)
            .build()
            .unwrap();
        let sleep = async |length: Duration| door.sleep_until(door.now().plus(length)).await;
        sim.block_on(async {
            let lease = manager.acquire_lease("x", "m", 0, self.period).await;
            let held = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
            sleep(self.begins).await;
            faulty.always(Some(self.fault));
            sleep(self.length).await;
            faulty.always(None);
            sleep(self.period).await;
            let lost = !held.is_current();
            assert_eq!(lost, held.check().is_err());
            lost
        })
    }
}

const DRIFTS: [Drift; 3] = [
    Drift::OneClock,
    Drift::Unknown,
    // The margin leaves less than two thirds.
    Drift::Bounded { ppm: 333_333 },
];

/// Whenever an outage of the tolerated length begins, no lease is lost: up to the last moment before a renewal, and around it.
fn is_tolerated(outage: Outage, timing: &Timing, faults: [Fault; 2]) {
    let spread = timing.renewal() - timing.earliest_renewal();
    let begins: Vec<Duration> = (0..=20)
        .map(|part| timing.renewal() * part / 10)
        .chain((0..=40).map(|part| timing.earliest_renewal() + spread * part / 40))
        .collect();
    for seed in 0..20 {
        for &begins in &begins {
            for fault in faults {
                let outage = Outage {
                    fault,
                    begins,
                    ..outage
                };
                let lost = outage.loses(seed);
                let drift = outage.drift;
                assert!(!lost, "{drift:?}, seed {seed}, {begins:?}, {fault:?}");
            }
        }
    }
}

/// The shortest that loses a lease for certain: it begins just before the earliest renewal, and lasts beyond the deadline.
/// By how much the earliest is earlier than the latest, chance decides.
fn too_long(outage: Outage, timing: &Timing) -> Outage {
    let begins = timing.earliest_renewal() - MS;
    Outage {
        begins,
        length: timing.deadline() - begins + MS,
        ..outage
    }
}

#[test]
fn an_outage_that_is_tolerated_loses_nothing_and_a_longer_one_does() {
    for drift in DRIFTS {
        let timing = timing(PERIOD, |capabilities| capabilities.drift = drift);
        let outage = Outage {
            drift,
            period: PERIOD,
            // Never.
            timeout: SECOND * 1000,
            fault: Fault::Refuse,
            begins: Duration::ZERO,
            length: timing.tolerated_outage(),
        };
        is_tolerated(outage, &timing, [Fault::Refuse, Fault::Lose]);
        let longer = too_long(outage, &timing);
        let spread = timing.renewal() - timing.earliest_renewal();
        let tight = longer.length <= outage.length + spread + MS * 10;
        assert!(tight, "{drift:?}: not a tight bound");
        assert!(longer.loses(1), "{drift:?}");
    }
}

/// The same where requests get no answer at all: each waits for half of what is left, but for the last second.
#[test]
fn a_silence_that_is_tolerated_loses_nothing_and_a_longer_one_does() {
    for drift in DRIFTS {
        let mut capabilities = Capabilities::local();
        capabilities.drift = drift;
        let settings = TimingSettings::new().timeout(SECOND * 4);
        let timing = Timing::new(PERIOD, &capabilities, settings).unwrap();
        let outage = Outage {
            drift,
            period: PERIOD,
            timeout: SECOND * 4,
            fault: Fault::Hang,
            begins: Duration::ZERO,
            length: timing.tolerated_silence(),
        };
        assert_eq!(outage.length + SECOND, timing.tolerated_outage());
        is_tolerated(outage, &timing, [Fault::Hang, Fault::HangApplied]);
        assert!(too_long(outage, &timing).loses(1), "{drift:?}");
    }
}

/// A second is not halved: where no more is left after a renewal was due, one that gets no answer may lose the
/// lease.
#[test]
fn where_no_silence_is_tolerated_one_lost_request_may_lose_the_lease() {
    let (period, timeout) = (MS * 1200, SECOND * 10);
    let timing = timing(period, |_| {});
    assert_eq!(timing.tolerated_silence(), Duration::ZERO);
    let outage = Outage {
        drift: Drift::OneClock,
        period,
        timeout,
        fault: Fault::Hang,
        begins: timing.earliest_renewal() - MS,
        length: timing.renewal() - timing.earliest_renewal() + MS * 2,
    };
    assert!(outage.loses(1));
    let refused = Outage {
        fault: Fault::Refuse,
        ..outage
    };
    assert!(!refused.loses(1));
}

/// Renewals are sent within the stated interval.
#[test]
fn renewals_are_sent_between_the_earliest_and_the_latest() {
    let timing = timing(PERIOD, |_| {});
    for seed in 0..10 {
        let world = World::new(seed, 1000, SECOND);
        world.sim.block_on(async {
            let held = world.take("x", PERIOD).await.keep_alive(KeepAlive::new());
            world.sleep(PERIOD * 20).await;
            drop(held);
        });
        let sent = world.sent("x");
        for pair in sent.windows(2).take(sent.len() - 2) {
            let interval = pair[1].since(pair[0]);
            let (least, most) = (timing.earliest_renewal(), timing.renewal() + MS);
            assert!(interval >= least && interval <= most, "{interval:?}");
        }
        let most = timing.requests(1).alone * (PERIOD * 20).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "some tens")]
        let renewals = (sent.len() - 2) as f64;
        assert!(
            renewals <= most && renewals > most * 0.85,
            "{renewals} of {most}"
        );
    }
}

/// Whenever a holder crashes, whoever waits holds within the stated time; and after a release.
#[test]
fn a_take_over_lasts_no_longer_than_stated() {
    let timing = timing(PERIOD, |_| {});
    for seed in 0..20 {
        for part in 0..10 {
            let world = World::new(seed, 1000, SECOND);
            let other = Manager::builder(Arc::new(world.memory.clone()), world.door.clone());
            let other = other.build().unwrap();
            world.sim.block_on(async {
                let mut lease = world.take("x", PERIOD).await;
                let lock = other.lock("x").period(PERIOD);
                let waits = async {
                    let LockAttempt::Held(held) = lock.acquire_within(PERIOD * 3).await.unwrap()
                    else {
                        panic!("not within three periods");
                    };
                    (world.door.now(), held)
                };
                let crashes = async {
                    world.sleep(PERIOD * part / 10).await;
                    lease.renew(PERIOD).await.unwrap();
                    // Right after the renewal nobody renews any more.
                    world.door.now()
                };
                let ((at, held), crashed) = futures_util::join!(waits, crashes);
                let took = at.since(crashed);
                assert!(took <= timing.takeover_after_crash() + MS, "{took:?}");
                assert!(
                    took > timing.takeover_after_crash() - MS,
                    "{took:?}: not a tight bound"
                );
                let lock = world.manager.lock("x").period(PERIOD);
                let waits = async {
                    let held = lock.acquire().await.unwrap();
                    (world.door.now(), held)
                };
                let releases = async {
                    world.sleep(SECOND).await;
                    held.release().await.unwrap();
                    world.door.now()
                };
                let ((at, _held), released) = futures_util::join!(waits, releases);
                let took = at.since(released);
                assert!(took <= timing.takeover_after_release() + MS, "{took:?}");
            });
        }
    }
}

#[test]
fn what_a_store_declares_counts() {
    let timing = timing(SECOND * 60, |capabilities| {
        capabilities.drift = Drift::Unknown;
        capabilities.granularity = SECOND;
        capabilities.delivery = Delivery::Poll(SECOND * 2);
        capabilities.batch = 100;
    });
    assert_eq!(timing.margin(), SECOND * 10);
    assert_eq!(timing.deadline(), SECOND * 50);
    assert_eq!(timing.renewal(), SECOND * 20);
    assert_eq!(timing.ending(), SECOND * 44);
    assert_eq!(timing.tolerated_outage(), SECOND * 30 - MS * 2);
    assert_eq!(timing.undisturbed_outage(), SECOND * 24 - MS * 2);
    // A sixth is 2r/(1+r) for r of an eleventh.
    assert_eq!(timing.tolerated_drift_ppm(), Some(90_909));
    assert_eq!(timing.takeover_after_release(), SECOND * 2);
    // 60 s by a clock that is slow by an eleventh, and what is declared.
    let crash = timing.takeover_after_crash();
    assert!(
        crash > SECOND * 69 - MS && crash <= SECOND * 69,
        "{crash:?}"
    );
    let load = timing.requests(1000);
    assert!((load.alone - 1000.0 / 18.0).abs() < 1e-9);
    assert!((load.batched - 10.0 / 18.0).abs() < 1e-9);
    let cost = load.cost(0.5, SECOND * 18);
    assert!((cost.alone - 500.0).abs() < 1e-6 && (cost.batched - 5.0).abs() < 1e-6);
    let slow = TimingSettings::new().round_trip(SECOND).delay(SECOND * 5);
    let timing = Timing::new(SECOND * 60, &Capabilities::local(), slow).unwrap();
    assert_eq!(timing.tolerated_outage(), SECOND * 37 - MS * 2);
    assert_eq!(timing.takeover_after_release(), SECOND * 2);
    assert_eq!(timing.takeover_after_crash(), SECOND * 67);
    assert_eq!(timing.tolerated_drift_ppm(), None);
}

/// The clocks of a lessee and of a registry that run as far apart as is stated still let the lessee stop first.
#[test]
fn the_stated_drift_is_what_the_margin_covers() {
    for drift in [
        Drift::Unknown,
        Drift::Bounded { ppm: 100 },
        Drift::Bounded { ppm: 83_333 },
        Drift::Bounded { ppm: 500_000 },
    ] {
        let timing = timing(SECOND * 60, |capabilities| capabilities.drift = drift);
        let ppm = timing.tolerated_drift_ppm().unwrap();
        if let Drift::Bounded { ppm: declared } = drift {
            assert!(
                ppm >= declared && ppm <= declared + 1,
                "{ppm} of {declared}"
            );
        }
        let r = f64::from(ppm) / 1e6;
        let lessee = timing.deadline().as_secs_f64() / (1.0 - r);
        let registry = timing.period().as_secs_f64() / (1.0 + r);
        assert!(lessee <= registry + 1e-9, "{drift:?}");
        let r = f64::from(ppm + 2) / 1e6;
        let lessee = timing.deadline().as_secs_f64() / (1.0 - r);
        assert!(
            lessee > timing.period().as_secs_f64() / (1.0 + r),
            "{drift:?}: it covers more"
        );
    }
}

#[test]
fn what_is_not_safe_is_refused_and_says_why() {
    let mut slow = Capabilities::local();
    slow.least_period = SECOND * 2;
    let mut drifting = Capabilities::local();
    drifting.drift = Drift::Bounded { ppm: 999_999 };
    let plain = TimingSettings::new();
    let local = Capabilities::local();
    for (period, capabilities, settings, says) in [
        (SECOND, &slow, plain, "grants periods from 2s to"),
        (MS, &local, plain, "grants periods from 10ms to"),
        (SECOND * 400_000_000, &local, plain, "not 111111h 6m 40s"),
        (SECOND, &drifting, plain, "kept back for clocks that drift"),
        (
            SECOND * 3,
            &local,
            plain.round_trip(SECOND),
            "requests take up to 3s 2ms",
        ),
        (
            SECOND * 30,
            &local,
            plain.round_trip(SECOND).timeout(SECOND * 2),
            "get no answer within a time-out of 2s",
        ),
        // Two thirds of the period are left, less two milliseconds.
        (
            SECOND * 3,
            &local,
            plain.grace(SECOND * 2 - MS * 2),
            "a grace of 1s 998ms is too long",
        ),
        (
            SECOND * 3,
            &local,
            plain.grace(Duration::MAX),
            "a grace of for ever is too long for a period of 3s",
        ),
    ] {
        let error = Timing::new(period, capabilities, settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    let grace = plain.grace(SECOND * 2 - MS * 3);
    let timing = Timing::new(SECOND * 3, &local, grace).unwrap();
    assert_eq!(timing.undisturbed_outage(), MS);
}

/// No length is a panic: what is not safe is refused, and what cannot be counted is as long as can be.
#[test]
fn no_length_is_a_panic() {
    let all = [
        Duration::ZERO,
        Duration::from_nanos(1),
        SECOND,
        SECOND * u32::MAX,
        Duration::MAX / 3,
        Duration::MAX / 2 - SECOND,
        Duration::MAX / 2,
        Duration::MAX,
    ];
    let mut made = 0;
    for drift in [
        Drift::OneClock,
        Drift::Unknown,
        Drift::Bounded { ppm: u32::MAX },
    ] {
        let mut capabilities = Capabilities::local();
        capabilities.drift = drift;
        for period in all.into_iter().chain([PERIOD, leasehold_core::MAX_PERIOD]) {
            for round_trip in all {
                for timeout in all {
                    for grace in all {
                        let settings = TimingSettings::new().round_trip(round_trip);
                        let settings = settings.timeout(timeout).grace(grace).delay(grace);
                        let Ok(timing) = Timing::new(period, &capabilities, settings) else {
                            continue;
                        };
                        made += 1;
                        assert!(timing.tolerated_outage() >= timing.tolerated_silence());
                        assert!(timing.ending() < timing.deadline() || grace.is_zero());
                        assert!(timing.takeover_after_crash() > timing.takeover_after_release());
                        assert!(timing.requests(u64::MAX).alone > 0.0);
                    }
                }
            }
        }
    }
    assert!(made > 10);
}
