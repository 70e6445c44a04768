//! Leases whose holder is gone, and a script that clears up after it.

use crate::support::{Registry, done, eventually, json};

/// Complaint 19: a lock without expiry is stuck for ever, and nothing lists or ends such locks for automation. Here every
/// lease ends by itself; a script finds those of a machine, ends them by the fence that it saw, sooner, and says why.
#[test]
fn complaint_19_what_is_stuck_ends_by_itself_or_by_a_script() {
    let registry = Registry::new();
    let take = |name: &str, id: &str, period: &str| {
        let line = format!("acquire {name} --machine-id {id} --period {period}");
        registry.line(&line).exits(0).fence()
    };
    take("jobs/short", "gone", "1s");
    let (a, b) = (
        take("jobs/a", "gone", "1h"),
        take("jobs/b/c", "gone", "365d"),
    );
    let other = take("jobs/other", "alive", "1h");
    eventually("ended by itself", || !registry.is_held("jobs/short"));

    let listed = || {
        let out = registry.line("list jobs --json").exits(0).out;
        out.lines().map(json).collect::<Vec<_>>()
    };
    let held = listed();
    assert_eq!(held.len(), 3, "{held:?}");
    for status in held.iter().filter(|status| status["machine_id"] == "gone") {
        let (name, fence) = (status["name"].as_str().unwrap(), &status["fence"]);
        assert!(status["since"].is_string() && status["left_ms"].as_u64() > Some(3_000_000));
        let fence = fence.to_string();
        let words = [
            "break",
            name,
            "--fence",
            &fence,
            "--assume-dead",
            "scrapped",
        ];
        done(registry.command(words))
            .exits(0)
            .says(&["displacing", "gone"]);
        // What the script has seen is over: whoever came meanwhile is safe from it.
        done(registry.command(words)).exits(1);
    }
    let left = listed();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (&left[0]["name"], &left[0]["fence"]),
        (&"jobs/other".into(), &other.into())
    );
    for (name, old) in [("jobs/a", a), ("jobs/b/c", b)] {
        let status = registry.status(name);
        assert_eq!(
            (&status["ended"]["how"], &status["ended"]["reason"]),
            (&"broken".into(), &"scrapped".into())
        );
        let next = take(name, "next", "1h");
        assert!(next > old);
        let fence = old.to_string();
        let words = [
            "break",
            name,
            "--fence",
            &fence,
            "--assume-dead",
            "scrapped",
        ];
        done(registry.command(words)).exits(76);
        assert_eq!(registry.status(name)["fence"].as_u64(), Some(next));
    }
}
