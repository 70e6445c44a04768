//! Raw calls, as three real servers answered them once, and as the test kit's simulated cluster has to.
//!
//! Each `.trace` file here is a script: a command per line, and below it, indented, what is answered.
//!
//! ```text
//! grant a 5
//!     5 s
//! txn if x absent then put x 1 @a, get y else (if y present then delete y)
//!     +1 then done, none
//! ```
//!
//! An answer is that of all servers, or begins with the one whose it is (`3.4: `). The simulator has to answer as 3.7 does:
//! what it does otherwise on purpose docs/simulation.md tells. Revisions count from the script's beginning, `@a` is the
//! native lease `a`, failures are told by their kind. `A or B`: each is right, since the server decides a race. Times are
//! those by which something is late; see `script::same` for how exact.
//!
//! `UPDATE_TRACES=1 cargo test -p leasehold-etcd --test etcd traces` asks the servers and writes what they answer.

mod run;
mod script;
mod sides;
mod txn;

use leasehold_testkit::servers::EtcdVersion;

use run::run;
use script::{Script, Setting, Who};
use sides::{Live, Simulated};

fn simulated(script: &Script, seed: u64) -> Vec<String> {
    let cluster = Simulated::start(seed);
    cluster.sim.block_on(run(script, &cluster, 0))
}

#[test]
fn the_simulator_answers_as_servers_did() {
    let scripts = Script::all();
    assert!(!scripts.is_empty());
    let mut differs = String::new();
    for script in &scripts {
        // Of the few that can differ by chance; how long expiry takes does not.
        for seed in 0..20 {
            let found = script.differs(Who::Simulator, &simulated(script, seed));
            differs += &found;
            if !found.is_empty() {
                break;
            }
        }
    }
    assert!(differs.is_empty(), "{differs}");
}

fn updates() -> bool {
    std::env::var_os("UPDATE_TRACES").is_some()
}

/// All scripts, on one server after the other: each has revisions of its own.
fn live(version: EtcdVersion, scripts: &[Script]) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let of = &|setting: Setting| {
        let _inside = runtime.enter();
        let mut cluster = None;
        let answers = scripts.iter().map(|script| {
            (script.setting == setting).then(|| {
                let cluster = cluster.get_or_insert_with(|| Live::start(version, setting));
                let run = |time| runtime.block_on(run(script, cluster, time));
                let answers = run(0);
                let fine = |answers: &[String]| {
                    updates() || script.differs(Who::Server(version), answers).is_empty()
                };
                // A busy machine may be too slow for leases of seconds: not three times.
                (1..3).fold(answers, |answers, time| match fine(&answers) {
                    true => answers,
                    false => run(time),
                })
            })
        });
        answers.collect::<Vec<_>>()
    };
    let settings = [Setting::One, Setting::Three, Setting::Small];
    let each = std::thread::scope(|scope| {
        let each = settings.map(|setting| scope.spawn(move || of(setting)));
        each.map(|one| one.join().unwrap())
    });
    let of = |place: usize| each.iter().find_map(|all| all[place].clone()).unwrap();
    (0..scripts.len()).map(of).collect()
}

#[test]
fn servers_answer_as_they_did() {
    let mut scripts = Script::all();
    let answers = std::thread::scope(|scope| {
        let scripts = &scripts;
        let each = EtcdVersion::ALL.map(|v| scope.spawn(move || (v, live(v, scripts))));
        each.map(|one| one.join().unwrap())
    });
    let mut differs = String::new();
    for (place, script) in scripts.iter_mut().enumerate() {
        let of = answers.each_ref().map(|(v, all)| (*v, all[place].clone()));
        if updates() {
            script.record(&of);
            continue;
        }
        for (version, answers) in &of {
            differs += &script.differs(Who::Server(*version), answers);
        }
    }
    assert!(differs.is_empty(), "{differs}");
}
