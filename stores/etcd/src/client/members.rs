//! The members of a cluster: one is asked until it fails, then the next.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use leasehold_core::{BootInstant, Door, Error, ErrorKind, Result};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Request, Status};
use tonic_prost::ProstCodec;

use super::config::Config;
use super::identity::{Identity, Proof};
use super::status::{Verdict, verdict};
use super::wire::{AuthenticateRequest, AuthenticateResponse, Headed};
use crate::api::Failed;

/// How long a connection may take before the next member is tried.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection with something under way may be silent, and how long it may take to answer then. Servers refuse
/// to be asked more often than every five seconds.
const SILENT: Duration = Duration::from_secs(6);
const ANSWER: Duration = Duration::from_secs(4);
/// A page of records may be large.
const LARGEST: usize = 256 << 20;

pub(super) struct Members {
    pub(super) door: Arc<dyn Door>,
    config: Config,
    channels: Vec<Channel>,
    current: AtomicUsize,
    token: Mutex<Option<MetadataValue<Ascii>>>,
    pub(super) identity: Identity,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// One call's way to a member.
pub(super) struct Way {
    pub(super) place: usize,
    pub(super) grpc: Grpc<Channel>,
}

impl Members {
    pub(super) fn new(config: Config, door: Arc<dyn Door>) -> Result<Self> {
        let channels = config
            .endpoints
            .iter()
            .map(|endpoint| channel(&config, endpoint))
            .collect::<Result<Vec<_>>>()?;
        // Clients spread over the members.
        let mut draw = [0; 1];
        door.random(&mut draw);
        let current = AtomicUsize::new(usize::from(draw[0]) % channels.len().max(1));
        Ok(Self {
            door,
            config,
            channels,
            current,
            token: Mutex::default(),
            identity: Identity::default(),
        })
    }

    /// The member that is asked now.
    pub(super) fn way(&self) -> Result<Way, Failed> {
        self.identity.stands().map_err(Failed::NotDone)?;
        let place = self.current.load(Ordering::Relaxed);
        let channel = self.channels.get(place).ok_or_else(Failed::unreached)?;
        let grpc = Grpc::new(channel.clone()).max_decoding_message_size(LARGEST);
        Ok(Way { place, grpc })
    }

    /// That member did not answer: the next one is asked from now on, unless somebody found that out before.
    pub(super) fn failed(&self, place: usize) {
        let next = (place + 1) % self.channels.len();
        let order = Ordering::Relaxed;
        if next != place
            && self
                .current
                .compare_exchange(place, next, order, order)
                .is_ok()
        {
            tracing::debug!(member = ?self.config.endpoints.get(next), "etcd: asking the next member");
        }
    }

    /// Whether that member is the one that is asked.
    pub(super) fn is_current(&self, place: usize) -> bool {
        self.current.load(Ordering::Relaxed) == place
    }

    /// One call that is answered once. It is sent to another member only if it is certain that the first will never
    /// serve it: the client never repeats what may have been done.
    pub(super) async fn call<Q, A>(
        &self,
        (path, proof): (&'static str, Proof),
        request: Q,
        until: BootInstant,
    ) -> Result<A, Failed>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Headed + Default + 'static,
    {
        let (mut tries, mut authenticated) = (self.channels.len(), false);
        loop {
            let way = self.way()?;
            let place = way.place;
            let asked = self.identity.asked();
            let request = self.request(request.clone(), until).await?;
            let failed = match self.bounded(until, unary(way, path, request)).await {
                Some(Ok(answer)) => {
                    self.identity.answered(asked, proof, A::header(&answer))?;
                    return Ok(answer);
                }
                None => {
                    self.failed(place);
                    return Err(Failed::no_answer());
                }
                Some(Err(status)) => match verdict(status) {
                    Verdict::Final { failed, member } => {
                        if member {
                            self.failed(place);
                        }
                        return Err(failed);
                    }
                    Verdict::Authenticate(failed) => {
                        self.distrust();
                        if std::mem::replace(&mut authenticated, true) || !self.has_user() {
                            return Err(failed);
                        }
                        continue;
                    }
                    Verdict::Elsewhere(failed) => failed,
                },
            };
            self.failed(place);
            tries -= 1;
            if tries == 0 {
                return Err(failed);
            }
        }
    }

    /// The future's output, or none where the instant comes first.
    pub(super) async fn bounded<F: Future>(
        &self,
        until: BootInstant,
        future: F,
    ) -> Option<F::Output> {
        match select(pin!(future), self.door.sleep_until(until)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }

    /// A request with what every request carries.
    pub(super) async fn request<Q>(
        &self,
        message: Q,
        until: BootInstant,
    ) -> Result<Request<Q>, Failed> {
        let token = self.token(until).await?;
        let mut request = message.into_request();
        let metadata = request.metadata_mut();
        // A member without a leader refuses at once, and ends its watches.
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = token {
            metadata.insert("token", token);
        }
        Ok(request)
    }

    fn has_user(&self) -> bool {
        self.config.user.is_some()
    }

    /// The token is asked for anew next time.
    pub(super) fn distrust(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MetadataValue<Ascii>>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn token(&self, until: BootInstant) -> Result<Option<MetadataValue<Ascii>>, Failed> {
        let Some(user) = &self.config.user else {
            return Ok(None);
        };
        if let Some(token) = &*self.lock() {
            return Ok(Some(token.clone()));
        }
        let mut tries = self.channels.len();
        loop {
            let way = self.way()?;
            let place = way.place;
            let request = AuthenticateRequest {
                name: user.name.clone(),
                password: user.password.reveal().to_owned(),
            };
            let call = unary(
                way,
                "/etcdserverpb.Auth/Authenticate",
                Request::new(request),
            );
            let failed = match self.bounded(until, call).await {
                Some(Ok(AuthenticateResponse { token, .. })) => {
                    let token = token.parse::<MetadataValue<Ascii>>().map_err(|_| {
                        let message = "etcd gave a token that cannot be sent";
                        Failed::NotDone(Error::new(ErrorKind::Unavailable, message))
                    })?;
                    *self.lock() = Some(token.clone());
                    return Ok(Some(token));
                }
                // Nothing of what was asked for is done yet.
                None => Failed::unreached(),
                Some(Err(status)) => match verdict(status) {
                    Verdict::Final {
                        failed: Failed::NotDone(error),
                        ..
                    } => return Err(Failed::NotDone(error)),
                    Verdict::Final { failed, .. }
                    | Verdict::Authenticate(failed)
                    | Verdict::Elsewhere(failed) => Failed::NotDone(failed.error()),
                },
            };
            self.failed(place);
            tries -= 1;
            if tries == 0 || self.door.now() >= until {
                return Err(failed);
            }
        }
    }
}

async fn unary<Q, A>(mut way: Way, path: &'static str, request: Request<Q>) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    ready(&mut way.grpc).await?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = way.grpc.unary(request, path, ProstCodec::default()).await?;
    Ok(answer.into_inner())
}

pub(super) async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(error.into()))
}

fn channel(config: &Config, endpoint: &str) -> Result<Channel> {
    let bad = |_| {
        let message = format!("{endpoint:?} is no address of an etcd member (host:port)");
        Error::new(ErrorKind::InvalidInput, message)
    };
    let endpoint = Endpoint::from_shared(config.uri(endpoint))
        .map_err(bad)?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(SILENT)
        .keep_alive_timeout(ANSWER);
    Ok(config.secured(endpoint)?.connect_lazy())
}
