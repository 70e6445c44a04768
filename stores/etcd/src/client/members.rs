//! The members of a cluster: one is asked until it fails, then the next.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::future::{self, Either, select};
use futures_util::stream::{self, StreamExt};
use leasehold_core::{BootInstant, Door, Error, ErrorKind, Result};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::config::Config;
use super::identity::{Identity, Proof};
use super::reason::Attempted;
use super::status::{Verdict, verdict};
use super::tokens::{LogIn, Tokens};
use super::wire::Headed;
use crate::api::Failed;

/// How long a connection may take before the next member is tried, and the handshake of an encrypted one.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long a connection with something under way may be silent, and how long it may take to answer then. Servers refuse
/// to be asked more often than every five seconds.
const SILENT: Duration = Duration::from_secs(6);
const ANSWER: Duration = Duration::from_secs(4);
/// Silence for less than this is no member's failure: some requests have little time left.
const FAIR: Duration = Duration::from_millis(250);
/// A page of records may be large.
const LARGEST: usize = 256 << 20;

pub(super) struct Members {
    pub(super) door: Arc<dyn Door>,
    pub(super) config: Config,
    channels: Vec<Channel>,
    current: AtomicUsize,
    pub(super) tokens: Tokens,
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
        if config.endpoints.is_empty() {
            let message = "there is no member's address to reach the cluster by";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let channels = config
            .endpoints
            .iter()
            .map(|endpoint| channel(&config, endpoint))
            .collect::<Result<Vec<_>>>()?;
        // Clients spread over the members.
        let mut draw = [0; 1];
        door.random(&mut draw);
        let current = AtomicUsize::new(usize::from(draw[0]) % channels.len());
        Ok(Self {
            door,
            config,
            channels,
            current,
            tokens: Tokens::default(),
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

    /// Whether silence since then says something about the member.
    pub(super) fn had_time(&self, started: BootInstant) -> bool {
        self.door.now().since(started) >= FAIR
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
        let (mut whys, mut authenticated) = (Vec::new(), false);
        loop {
            let asked = self.identity.asked();
            let (request, log_in) = self.request(request.clone(), until).await?;
            let way = self.way()?;
            let place = way.place;
            match self.asked(way, path, request, until).await {
                Ok(answer) => {
                    self.identity.answered(asked, proof, A::header(&answer))?;
                    return Ok(answer);
                }
                Err(Verdict::Final { failed, member }) => {
                    if member {
                        self.failed(place);
                    }
                    return Err(failed);
                }
                Err(Verdict::Authenticate(failed)) => {
                    self.distrust(log_in);
                    if std::mem::replace(&mut authenticated, true) || log_in.is_none() {
                        return Err(failed);
                    }
                }
                Err(Verdict::Elsewhere(why)) => {
                    self.failed(place);
                    whys.push(why);
                    if whys.len() >= self.count() || self.door.now() >= until {
                        return Err(Self::unreached(&whys));
                    }
                }
            }
        }
    }

    /// One request to one member, and its answer.
    pub(super) async fn asked<Q, A>(
        &self,
        way: Way,
        path: &'static str,
        request: Request<Q>,
        until: BootInstant,
    ) -> Result<A, Verdict>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let place = way.place;
        // A request without its message is never served.
        let message = Arc::new(Message::default());
        let started = self.door.now();
        let answer = self.bounded(until, unary(way, path, request, message.clone()));
        let answer = answer.await;
        let sent = message.was_sent();
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(status)) => Err(self.verdict(status, place, sent)),
            None if sent => Err(Verdict::Final {
                failed: self.silent(place),
                member: self.had_time(started),
            }),
            None => {
                let why = "no connection within the time that there was";
                Err(Verdict::Elsewhere(format!("{}: {why}", self.name(place))))
            }
        }
    }

    /// What a member's failure means.
    pub(super) fn verdict(&self, status: Status, place: usize, sent: bool) -> Verdict {
        let tls = self.config.tls.as_ref();
        let attempted = Attempted {
            member: self.name(place),
            encrypted: tls.is_some(),
            identified: tls.is_some_and(|tls| tls.identity.is_some()),
            answered: self.identity.is_known(),
            sent,
        };
        verdict(&status, attempted, &self.config.prefix)
    }

    fn name(&self, place: usize) -> &str {
        self.config.endpoints.get(place).map_or("", String::as_str)
    }

    /// How many members there are.
    pub(super) fn count(&self) -> usize {
        self.channels.len()
    }

    /// Nothing was done, for these reasons.
    pub(super) fn unreached(whys: &[String]) -> Failed {
        let message = format!("the registry could not be reached: {}", whys.join("; "));
        Failed::NotDone(Error::new(ErrorKind::Unavailable, message))
    }

    /// That member has not answered.
    pub(super) fn silent(&self, place: usize) -> Failed {
        let message = format!("the registry did not answer in time: {}", self.name(place));
        Failed::NoAnswer(Error::new(ErrorKind::Unavailable, message))
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

    /// A request with what every request carries, and which log-in that is.
    pub(super) async fn request<Q>(
        &self,
        message: Q,
        until: BootInstant,
    ) -> Result<(Request<Q>, LogIn), Failed> {
        let token = self.token(until).await?;
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        // A member without a leader refuses at once, and ends its watches.
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        let Some((log_in, token)) = token else {
            return Ok((request, None));
        };
        metadata.insert("token", token);
        Ok((request, log_in))
    }
}

/// Whether a request's message has left: it is handed over once, or given up before, and never both.
#[derive(Debug, Default)]
struct Message(AtomicU8);

impl Message {
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn becomes(&self, state: u8) -> bool {
        let order = Ordering::SeqCst;
        self.0.compare_exchange(0, state, order, order).is_ok()
    }

    /// There is a connection that it can be written to; whether it still is to be.
    fn send(&self) -> bool {
        self.becomes(Self::SENT)
    }

    /// Whether it may have left. If not it never will.
    fn was_sent(&self) -> bool {
        !self.becomes(Self::GIVEN_UP)
    }
}

async fn unary<Q, A>(
    mut way: Way,
    path: &'static str,
    request: Request<Q>,
    handed: Arc<Message>,
) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    ready(&mut way.grpc).await?;
    let path = http::uri::PathAndQuery::from_static(path);
    // The message is asked for once there is a connection that it can be written to.
    let request = request.map(|message| {
        let once = future::lazy(move |_: &mut Context<'_>| handed.send().then_some(message));
        stream::once(once).filter_map(future::ready)
    });
    let codec = ProstCodec::default();
    let answer = way.grpc.client_streaming(request, path, codec).await?;
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
