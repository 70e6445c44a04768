//! Passwords and tokens are shown nowhere.

use std::cell::Cell;
use std::fmt::{self, Debug, Write as _};
use std::sync::{Arc, Mutex};

use leasehold_core::{KeepAlive, Manager};
use leasehold_etcd::{Config, Secret, User};
use leasehold_testkit::servers::{Etcd, EtcdVersion};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::support::{SECOND, config, connect, script, sleep};

thread_local! {
    /// Whether what this thread traces is written down.
    static WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// Writes down whatever is traced by threads that want it. For the whole program: what is traced first by a thread
/// without a subscriber would else be cached as traced by nobody.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        if WRITTEN.get() {
            span.record(&mut self.clone());
        }
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        if WRITTEN.get() {
            values.record(&mut self.clone());
        }
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if WRITTEN.get() {
            write!(self.0.lock().unwrap(), "\n{}", event.metadata().target()).unwrap();
            event.record(&mut self.clone());
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl fmt::Display for Everything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock().unwrap())
    }
}

const PASSWORD: &str = "s3cret-word";

// One thread: whoever traces from it is written down, and nobody else.
#[tokio::test]
async fn neither_password_nor_token_is_ever_shown() {
    let everything = Everything::default();
    tracing::subscriber::set_global_default(everything.clone()).unwrap();
    WRITTEN.set(true);
    // Tokens that can be told: this server gives out only such.
    let folder = tempfile::tempdir().unwrap();
    let token = super::users::signed(folder.path(), 60);
    let etcd =
        Etcd::start(leasehold_testkit::servers::EtcdOptions::new(EtcdVersion::V3_7).args([token]));
    let passwords = [("ROOT_PASSWORD", "r00t"), ("PASSWORD", PASSWORD)];
    script(&etcd, &super::users::set_up(), &passwords);

    let mut config: Config = config(&etcd);
    config.user = Some(User {
        name: "leasehold".into(),
        password: Secret::new(PASSWORD),
    });
    let mut shown = format!("{config:?}");
    let store = connect(config.clone()).await.unwrap();
    write!(shown, "{store:?}").unwrap();
    let manager: Manager = super::support::manager(store);
    let mut watch = manager.watch("name").unwrap();
    watch.next().await.unwrap();
    let lease = manager.acquire_lease("name", "me", 1, SECOND * 6).await;
    let held = lease.unwrap().unwrap().keep_alive(KeepAlive::new());
    // It is renewed once.
    sleep(SECOND * 3).await;
    held.release().await.unwrap();
    write!(shown, "{manager:?}").unwrap();

    config.prefix = "/else".into();
    let elsewhere = super::support::manager(connect(config.clone()).await.unwrap());
    let error = elsewhere.get_lease("name").await.unwrap_err();
    write!(shown, "{error} {error:?}").unwrap();
    config.user.as_mut().unwrap().password = Secret::new(format!("{PASSWORD}!"));
    let error = connect(config.clone()).await.unwrap_err();
    write!(shown, "{error} {error:?}").unwrap();
    config.endpoints = vec!["127.0.0.1:1".into()];
    let error = connect(config.clone()).await.unwrap_err();
    write!(shown, "{error} {error:?}").unwrap();
    drop(etcd);
    let error = manager.get_lease("name").await.unwrap_err();
    write!(shown, "{error} {error:?}").unwrap();

    let traced = everything.to_string();
    // What carries requests has been traced, down to its frames.
    assert!(traced.contains("\nh2::"), "{traced}");
    for text in [&shown, &traced] {
        // A signed token begins with the same letters always.
        for secret in [PASSWORD, "eyJ"] {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None);
        }
    }
}
