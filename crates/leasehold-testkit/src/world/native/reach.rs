//! Ways to the simulated cluster: by the world's network, or straight there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::BoxStream;
use leasehold_core::{BootInstant, Door};
use tokio::sync::oneshot;

use super::server::Server;
use crate::world::{Link, Missed};
use leasehold_etcd::api::{
    Api, Failed, Granted, Kept, LeaseId, Notice, Range, Ranged, Replied, Txn,
};

/// A client of the cluster by a process's way through the network.
#[derive(Clone, Debug)]
pub(crate) struct ByNet {
    pub(crate) link: Link,
    pub(crate) server: Arc<Server>,
}

/// A client of the cluster whose way is always clear.
#[derive(Clone, Debug)]
pub(crate) struct Straight {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) server: Arc<Server>,
}

/// How long a message of a [`Straight`] client takes.
const USUAL: Duration = Duration::from_micros(100);

/// How one request goes to the server and its answer comes back.
trait Way: Send + Sync {
    fn call<T: Send + 'static>(
        &self,
        until: BootInstant,
        serve: impl FnMut(&Server) -> Option<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Failed>> + Send;
    fn notices(&self, notices: BoxStream<'static, Notice>) -> BoxStream<'static, Notice>;
    fn server(&self) -> &Arc<Server>;
    fn until(&self, until: BootInstant) -> BoxFuture<'static, ()>;

    /// A keep-alive, whose answer may have to wait at the server.
    async fn keep(&self, id: LeaseId, until: BootInstant) -> Result<Kept, Failed> {
        let mut answer = self
            .call(until, move |server| server.keep_alive(id))
            .await?;
        loop {
            let gone = match answer {
                Either::Left(kept) => return Ok(kept),
                Either::Right(gone) => gone,
            };
            if let Either::Right(_) = select(gone, self.until(until)).await {
                return Err(Failed::no_answer());
            }
            let Some(again) = self.server().keep_alive(id) else {
                self.until(until).await;
                return Err(Failed::no_answer());
            };
            answer = again;
        }
    }
}

impl Way for ByNet {
    async fn call<T: Send + 'static>(
        &self,
        until: BootInstant,
        mut serve: impl FnMut(&Server) -> Option<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let server = self.server.clone();
        let stalled = {
            let server = server.clone();
            move || server.arrived()
        };
        let served = self.link.call_when(until, stalled, move || serve(&server));
        match served.await {
            Ok(answer) => Ok(answer),
            Err(Missed::NotSent) => Err(Failed::unreached()),
            Err(Missed::NoAnswer) => Err(Failed::no_answer()),
        }
    }

    fn notices(&self, notices: BoxStream<'static, Notice>) -> BoxStream<'static, Notice> {
        self.link.notices(notices)
    }

    fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn until(&self, until: BootInstant) -> BoxFuture<'static, ()> {
        self.link.door().sleep_until(until)
    }
}

impl Way for Straight {
    async fn call<T: Send + 'static>(
        &self,
        until: BootInstant,
        mut serve: impl FnMut(&Server) -> Option<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, receiver) = oneshot::channel();
        let (door, server) = (self.door.clone(), self.server.clone());
        // What was sent arrives, whether or not anybody waits for the answer.
        self.door.spawn(Box::pin(async move {
            let takes = || door.sleep_until(door.now().plus(USUAL));
            takes().await;
            server.arrived().await;
            let answer = serve(&server);
            takes().await;
            _ = sender.send(answer);
        }));
        let call = async { receiver.await.ok().flatten() };
        match select(std::pin::pin!(call), self.door.sleep_until(until)).await {
            Either::Left((Some(answer), _)) => Ok(answer),
            Either::Left((None, timer)) => {
                timer.await;
                Err(Failed::no_answer())
            }
            Either::Right(_) => Err(Failed::no_answer()),
        }
    }

    fn notices(&self, notices: BoxStream<'static, Notice>) -> BoxStream<'static, Notice> {
        notices
    }

    fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn until(&self, until: BootInstant) -> BoxFuture<'static, ()> {
        self.door.sleep_until(until)
    }
}

macro_rules! api {
    ($way:ty) => {
        impl Api for $way {
            fn grant(
                &self,
                seconds: u64,
                until: BootInstant,
            ) -> BoxFuture<'_, Result<Granted, Failed>> {
                async move {
                    self.call(until, move |server| server.grant(seconds))
                        .await?
                }
                .boxed()
            }

            fn keep_alive(
                &self,
                id: LeaseId,
                until: BootInstant,
            ) -> BoxFuture<'_, Result<Kept, Failed>> {
                self.keep(id, until).boxed()
            }

            fn revoke(&self, id: LeaseId, until: BootInstant) -> BoxFuture<'_, Result<(), Failed>> {
                self.call(until, move |server| server.revoke(id)).boxed()
            }

            fn txn(&self, txn: Txn, until: BootInstant) -> BoxFuture<'_, Result<Replied, Failed>> {
                let mut refused = false;
                let serve = move |server: &Server| {
                    // What was refused for want of space is not done later: no client sends it again by itself.
                    if refused {
                        return None;
                    }
                    let answer = server.txn(&txn);
                    refused = matches!(answer, Some(Err(Failed::NoSpace(_))));
                    answer
                };
                async move { self.call(until, serve).await? }.boxed()
            }

            fn range(
                &self,
                ranges: Vec<Range>,
                until: BootInstant,
            ) -> BoxFuture<'_, Result<Ranged, Failed>> {
                async move {
                    self.call(until, move |server| server.range(&ranges))
                        .await?
                }
                .boxed()
            }

            fn watch(
                &self,
                prefix: Bytes,
                after: Option<u64>,
                until: BootInstant,
            ) -> BoxFuture<'_, Result<BoxStream<'static, Notice>, Failed>> {
                async move {
                    let watch = move |server: &Server| server.watch(prefix.clone(), after);
                    let notices = self.call(until, watch).await?;
                    Ok(self.notices(notices))
                }
                .boxed()
            }
        }
    };
}

api!(ByNet);
api!(Straight);
