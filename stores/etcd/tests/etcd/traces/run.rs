//! Runs a script against a cluster, whichever it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Either, join_all, select};
use futures_util::stream::BoxStream;
use leasehold_core::{BootInstant, Door};
use leasehold_etcd::api::{Api, Failed, Kept, Notice, Txn};

use super::script::Script;
use super::txn::{Names, failed};

const SECOND: Duration = Duration::from_secs(1);
/// What takes longer than this is not going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// One cluster: how it is asked, and what can be done to it.
pub(super) trait Cluster: Send + Sync {
    fn api(&self) -> Arc<dyn Api>;
    fn door(&self) -> Arc<dyn Door>;
    /// Another member leads once this returns, and all members serve.
    fn change_leader(&self);
    /// All members stop and start again.
    fn restart(&self);
    fn compact(&self, revision: u64);
    /// There is no space left, or there is again once this is over. Tells after which revision that took how many.
    fn use_up(&self) -> BoxFuture<'_, Option<(u64, u64)>>;
    fn make_space(&self) -> BoxFuture<'_, Option<(u64, u64)>>;
}

struct Runner<'a> {
    cluster: &'a dyn Cluster,
    api: Arc<dyn Api>,
    door: Arc<dyn Door>,
    names: Mutex<Names>,
    /// Of each native lease, for how long it was granted, and until when it lasts at least.
    lasts: Mutex<BTreeMap<String, (Duration, BootInstant)>>,
    watches: Mutex<BTreeMap<String, BoxStream<'static, Notice>>>,
}

/// What a cluster answers to a script's steps, asked of keys of their own each time.
pub(super) async fn run(script: &Script, cluster: &dyn Cluster, time: usize) -> Vec<String> {
    let prefix = format!("/traces/{}/{time}/", script.name());
    let runner = Runner::new(prefix, cluster).await;
    let mut answers = Vec::new();
    for step in script.steps() {
        answers.push(runner.step(&step.command).await);
    }
    // What is left over would change revisions in the next script.
    let names = runner.names().leases.clone();
    for name in names.keys() {
        runner.step(&format!("revoke {name}")).await;
    }
    answers
}

impl<'a> Runner<'a> {
    async fn new(prefix: String, cluster: &'a dyn Cluster) -> Self {
        let (api, door) = (cluster.api(), cluster.door());
        let names = Names {
            prefix,
            revision: 0,
            skipped: Vec::new(),
            term: 0,
            leases: BTreeMap::new(),
        };
        // A change: its answer is nobody's old knowledge.
        let until = door.now().plus(PATIENCE);
        let first = api
            .txn(names.txn("then put begins 1"), until)
            .await
            .unwrap();
        let names = Names {
            revision: first.revision,
            term: first.term,
            ..names
        };
        Self {
            cluster,
            api,
            door,
            names: Mutex::new(names),
            lasts: Mutex::default(),
            watches: Mutex::default(),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap()
    }

    fn until(&self) -> BootInstant {
        self.door.now().plus(PATIENCE)
    }

    fn sleep(&self, length: Duration) -> BoxFuture<'static, ()> {
        self.door.sleep_until(self.door.now().plus(length))
    }

    fn step<'s>(&'s self, command: &'s str) -> BoxFuture<'s, String> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let done = || "done".to_owned();
        async move {
            let answer = match (verb, &*words) {
                ("txn", _) => self.txn(rest).await,
                ("grant", [name, seconds]) => self.grant(name, seconds.parse().unwrap()).await,
                ("keep", [name]) => self.keep(name).await,
                ("revoke", [name]) => {
                    let id = self.names().lease(name);
                    self.api.revoke(id, self.until()).await.map(|()| done())
                }
                ("range", _) => self.range(rest).await,
                ("watch", [name]) => self.watch(name, None).await,
                ("watch", [name, "after", revision]) => self.watch(name, Some(revision)).await,
                ("told", [name, count]) => Ok(self.told(name, count.parse().unwrap()).await),
                ("gone", [key, "of", lease]) => Ok(self.gone(key, lease).await),
                ("together", _) => {
                    let all = rest.split(" | ").map(|command| self.step(command));
                    Ok(join_all(all).await.join(" | "))
                }
                ("sleep", [seconds]) => {
                    let length = Duration::from_secs_f64(seconds.parse().unwrap());
                    self.sleep(length).await;
                    Ok(done())
                }
                ("leader", []) => self.anew(|it| it.change_leader()).await,
                ("restart", []) => self.anew(|it| it.restart()).await,
                ("compact", [revision]) => {
                    let revision = self.names().at(revision);
                    self.cluster.compact(revision);
                    Ok(done())
                }
                ("full", []) => self.apart(self.cluster.use_up()).await,
                ("space", []) => self.apart(self.cluster.make_space()).await,
                _ => panic!("not known: {command}"),
            };
            answer.unwrap_or_else(|why| failed(&why))
        }
        .boxed()
    }

    /// Changes the leader, and waits until the cluster serves again: native leases last their whole length from then.
    async fn anew(&self, change: impl FnOnce(&dyn Cluster)) -> Result<String, Failed> {
        let now = self.door.now();
        for (ttl, lasts) in self.lasts.lock().unwrap().values_mut() {
            *lasts = now.plus(*ttl).max(*lasts);
        }
        change(self.cluster);
        let late = self.until();
        while self.api.range(Vec::new(), self.until()).await.is_err() {
            assert!(self.door.now() < late, "nobody serves");
            self.sleep(SECOND / 50).await;
        }
        Ok("done".to_owned())
    }

    /// What is no part of the script has revisions that do not count.
    async fn apart(&self, done: BoxFuture<'_, Option<(u64, u64)>>) -> Result<String, Failed> {
        let skipped = done.await;
        self.names().skipped.extend(skipped);
        Ok("done".to_owned())
    }

    async fn txn(&self, text: &str) -> Result<String, Failed> {
        let txn: Txn = self.names().txn(text);
        let replied = self.api.txn(txn, self.until()).await?;
        Ok(self.names().replied(&replied))
    }

    async fn grant(&self, name: &str, seconds: u64) -> Result<String, Failed> {
        let sent = self.door.now();
        let granted = self.api.grant(seconds, self.until()).await?;
        self.names().leases.insert(name.to_owned(), granted.id);
        self.lasts_from(name, sent, granted.ttl);
        Ok(told_ttl(granted.ttl))
    }

    async fn keep(&self, name: &str) -> Result<String, Failed> {
        let id = self.names().lease(name);
        let sent = self.door.now();
        let Kept { ttl, term } = self.api.keep_alive(id, self.until()).await?;
        if !ttl.is_zero() {
            self.lasts_from(name, sent, ttl);
        }
        Ok(self.names().in_term(&told_ttl(ttl), term))
    }

    fn lasts_from(&self, name: &str, sent: BootInstant, ttl: Duration) {
        let mut lasts = self.lasts.lock().unwrap();
        lasts.insert(name.to_owned(), (ttl, sent.plus(ttl)));
    }

    async fn range(&self, text: &str) -> Result<String, Failed> {
        let ranges = self.names().ranges(text);
        let ranged = self.api.range(ranges, self.until()).await?;
        Ok(self.names().as_of(ranged.revision, &ranged.entries))
    }

    async fn watch(&self, name: &str, after: Option<&str>) -> Result<String, Failed> {
        let (prefix, after) = {
            let names = self.names();
            (names.key(""), after.map(|after| names.at(after)))
        };
        let watch = self.api.watch(prefix, after, self.until()).await?;
        self.watches
            .lock()
            .unwrap()
            .insert(name.to_owned(), watch.fuse().boxed());
        Ok("open".to_owned())
    }

    /// The next of what a watch tells; its end is told, too.
    async fn told(&self, name: &str, count: usize) -> String {
        let mut watch = self.watches.lock().unwrap().remove(name).unwrap();
        let mut told = Vec::new();
        for _ in 0..count {
            let late = self.sleep(PATIENCE);
            told.push(match select(watch.next(), late).await {
                Either::Left((Some(Notice::Changed(key, revision)), _)) => {
                    self.names().change(&key, revision)
                }
                Either::Left((Some(Notice::Compacted), _)) => "compacted".to_owned(),
                Either::Left((None, _)) => "the end".to_owned(),
                Either::Right(_) => "silence".to_owned(),
            });
        }
        self.watches.lock().unwrap().insert(name.to_owned(), watch);
        told.join(", ")
    }

    /// Waits until a key is gone, by whose native lease's end it should.
    async fn gone(&self, key: &str, lease: &str) -> String {
        let (_, ends) = self.lasts.lock().unwrap()[lease];
        let late = self.until();
        while self.door.now() < late {
            let ranges = self.names().ranges(key);
            let ranged = self.api.range(ranges, self.until()).await;
            if ranged.is_ok_and(|ranged| ranged.entries.concat().is_empty()) {
                let now = self.door.now();
                return match now.since(ends).as_secs_f64() {
                    _ if now < ends => "gone before its time".to_owned(),
                    after => format!("gone {after:.1} s after its time"),
                };
            }
            self.sleep(SECOND / 50).await;
        }
        "still there".to_owned()
    }
}

fn told_ttl(ttl: Duration) -> String {
    format!("{} s", ttl.as_secs_f64())
}
