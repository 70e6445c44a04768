//! Keep-alives of native leases: few streams carry those of all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use futures_util::stream;
use leasehold_core::{BootInstant, Error, Result};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;
use tonic_prost::ProstCodec;

use super::convert::{about, kept, wired};
use super::identity::Proof;
use super::members::{Members, Way, ready};
use super::status::Verdict;
use super::wire::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use crate::api::{Failed, Kept, LeaseId};

/// How many streams there are: a member that has to ask the leader answers those of one stream one after the other.
const LANES: usize = 4;

/// Sends keep-alives and matches the answers to them.
#[derive(Debug)]
pub(super) struct Keeper {
    members: Arc<Members>,
    lanes: [Mutex<Option<Lane>>; LANES],
}

/// A stream of keep-alives to one member. It ends when this is dropped.
#[derive(Debug)]
struct Lane {
    place: usize,
    requests: mpsc::UnboundedSender<LeaseKeepAliveRequest>,
    waiting: Arc<Waiting>,
    /// Tells the reader, by being dropped, that nobody sends any more.
    _open: oneshot::Sender<()>,
}

/// Who waits for answers: a stream answers the keep-alives of one native lease in the order in which they were sent.
/// None: the stream is closed.
#[derive(Debug)]
struct Waiting(Mutex<Option<BTreeMap<LeaseId, VecDeque<oneshot::Sender<Answer>>>>>);

type Answer = Result<Kept, Ended>;

/// A stream has ended before it has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// It was refused as a whole, and another may serve: nothing of it was done.
    Refused,
    /// Nobody knows.
    Broken,
}

#[derive(Debug)]
struct Ended {
    why: Why,
    error: Error,
}

impl Waiting {
    fn new() -> Self {
        Self(Mutex::new(Some(BTreeMap::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<LeaseId, VecDeque<oneshot::Sender<Answer>>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits from now on. Sent by `send` in the same step, so that the order is that of the stream.
    fn add(&self, id: LeaseId, send: impl FnOnce() -> bool) -> Option<oneshot::Receiver<Answer>> {
        let mut waiting = self.lock();
        let waiting = waiting.as_mut()?;
        if !send() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.entry(id).or_default().push_back(sender);
        Some(receiver)
    }

    fn answered(&self, id: LeaseId, kept: Kept) {
        let mut waiting = self.lock();
        let Some(waiting) = waiting.as_mut() else {
            return;
        };
        let Some(queue) = waiting.get_mut(&id) else {
            return;
        };
        if let Some(sender) = queue.pop_front() {
            // Whoever gave up waiting has still had its place in the order.
            _ = sender.send(Ok(kept));
        }
        if queue.is_empty() {
            waiting.remove(&id);
        }
    }

    /// Nobody will be answered any more.
    fn close(&self, why: Why, error: &Error) {
        let waiting = self.lock().take();
        for sender in waiting.into_iter().flatten().flat_map(|(_, queue)| queue) {
            let error = error.duplicate();
            _ = sender.send(Err(Ended { why, error }));
        }
    }
}

impl Keeper {
    pub(super) fn new(members: Arc<Members>) -> Self {
        let lanes = std::array::from_fn(|_| Mutex::new(None));
        Self { members, lanes }
    }

    /// One keep-alive, and the answer to this very one.
    pub(super) async fn keep_alive(&self, id: LeaseId, until: BootInstant) -> Result<Kept, Failed> {
        // One more for a token that has run out.
        let mut tries = self.members.count() + 1;
        loop {
            let (place, answer) = self.send(id, until).await?;
            let started = self.members.door.now();
            let ended = match self.members.bounded(until, answer).await {
                Some(Ok(Ok(kept))) => return Ok(kept),
                Some(Ok(Err(ended))) => ended,
                Some(Err(_)) => return Err(Failed::no_answer()),
                None => {
                    if self.members.had_time(started) {
                        self.members.failed(place);
                    }
                    return Err(self.members.silent(place));
                }
            };
            tries -= 1;
            match ended.why {
                Why::Refused if tries > 0 && self.members.door.now() < until => {}
                Why::Refused => return Err(Failed::NotDone(ended.error)),
                Why::Broken => return Err(Failed::NoAnswer(ended.error)),
            }
        }
    }

    /// Hands a keep-alive to the stream of its native lease, which is opened where it has to be.
    async fn send(
        &self,
        id: LeaseId,
        until: BootInstant,
    ) -> Result<(usize, oneshot::Receiver<Answer>), Failed> {
        let lane = usize::try_from(id).unwrap_or_default() % LANES;
        let Some(lane) = self.lanes.get(lane) else {
            return Err(Failed::unreached());
        };
        let by = |lane: &Option<Lane>| {
            let lane = lane.as_ref()?;
            if !self.members.is_current(lane.place) {
                return None;
            }
            let request = LeaseKeepAliveRequest { id: wired(id) };
            let receiver = lane
                .waiting
                .add(id, || lane.requests.send(request).is_ok())?;
            Some((lane.place, receiver))
        };
        if let Some(sent) = by(&lock(lane)) {
            return Ok(sent);
        }
        // What it needs to open a stream is asked for first: no lock is held meanwhile.
        let (opening, log_in) = self.members.request((), until).await?;
        let way = self.members.way()?;
        let mut lane = lock(lane);
        if let Some(sent) = by(&lane) {
            return Ok(sent);
        }
        let (requests, mut sent) = mpsc::unbounded_channel();
        let (open, closed) = oneshot::channel();
        let waiting = Arc::new(Waiting::new());
        let place = way.place;
        let request = opening.map(|()| stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let (members, told) = (self.members.clone(), waiting.clone());
        self.members.door.spawn(Box::pin(async move {
            let reading = Box::pin(read(&members, way, request, &told));
            let (why, error) = match select(reading, closed).await {
                Either::Left((Some(status), _)) => match members.verdict(status, place, true) {
                    Verdict::Authenticate(failed) => {
                        members.distrust(log_in);
                        return told.close(Why::Refused, &failed.error());
                    }
                    Verdict::Elsewhere(why) => (Why::Refused, Members::unreached(&[why]).error()),
                    Verdict::Final { failed, member } => {
                        if !member {
                            return told.close(Why::Broken, &failed.error());
                        }
                        (Why::Broken, failed.error())
                    }
                },
                Either::Left((None, _)) => (Why::Broken, Failed::no_answer().error()),
                Either::Right(_) => return told.close(Why::Broken, &Failed::no_answer().error()),
            };
            members.failed(place);
            told.close(why, &error);
        }));
        *lane = Some(Lane {
            place,
            requests,
            waiting,
            _open: open,
        });
        by(&lane).ok_or_else(Failed::unreached)
    }
}

fn lock(lane: &Mutex<Option<Lane>>) -> MutexGuard<'_, Option<Lane>> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads answers until the stream ends, by an error or without one.
async fn read<S>(
    members: &Members,
    mut way: Way,
    request: tonic::Request<S>,
    waiting: &Waiting,
) -> Option<tonic::Status>
where
    S: futures_util::Stream<Item = LeaseKeepAliveRequest> + Send + 'static,
{
    let opened = async {
        ready(&mut way.grpc).await?;
        let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
        let codec = ProstCodec::<LeaseKeepAliveRequest, LeaseKeepAliveResponse>::default();
        way.grpc.streaming(request, path, codec).await
    };
    let mut answers: Streaming<LeaseKeepAliveResponse> = match opened.await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Some(status),
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                // Another cluster knows nothing of this one's leases.
                let same = |header| members.identity.answered(0, Proof::Member, header);
                if answer.header.map(same).is_some_and(|same| same.is_err()) {
                    return None;
                }
                waiting.answered(about(&answer), kept(&answer));
            }
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}
