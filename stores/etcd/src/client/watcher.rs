//! Watching keys.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::BootInstant;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::convert::{number, wired};
use super::members::{Members, Way, ready};
use super::status::{Verdict, verdict};
use super::wire::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::api::{Failed, Notice};

/// The changes of all keys with a prefix after a revision, or from now on. The stream ends when the connection does, when
/// the member has lost its leader, or when the registry ends the watch.
pub(super) async fn watch(
    members: &Members,
    prefix: Bytes,
    after: Option<u64>,
    until: BootInstant,
) -> Result<BoxStream<'static, Notice>, Failed> {
    let way = members.way()?;
    let place = way.place;
    let create = WatchRequest {
        create: Some(WatchCreateRequest {
            range_end: behind(&prefix),
            key: prefix,
            start_revision: after.map_or(0, |revision| wired(revision).saturating_add(1)),
        }),
    };
    // A watch lasts as long as its requests' side is open.
    let requests = stream::iter([create]).chain(stream::pending());
    let request = members.request(requests, until).await?;
    let opened = members.bounded(until, open(way, request)).await;
    let failed = match opened {
        Some(Ok(Opened::Watch(first, answers))) => {
            return Ok(stream::iter(first).chain(notices(*answers)).boxed());
        }
        Some(Ok(Opened::Refused(reason))) => {
            // A token that is none any more is told in words here.
            members.distrust();
            Failed::NotDone(leasehold_core::Error::new(
                leasehold_core::ErrorKind::Unavailable,
                format!("etcd refuses to watch: {reason}"),
            ))
        }
        Some(Err(status)) => match verdict(status) {
            Verdict::Authenticate(failed) => {
                members.distrust();
                failed
            }
            Verdict::Elsewhere(failed) | Verdict::Final { failed, .. } => failed,
        },
        None => Failed::no_answer(),
    };
    members.failed(place);
    Err(failed)
}

enum Opened {
    Watch(Vec<Notice>, Box<Streaming<WatchResponse>>),
    Refused(String),
}

/// Opens a watch, and waits until the registry has it.
async fn open(
    mut way: Way,
    request: tonic::Request<impl futures_util::Stream<Item = WatchRequest> + Send + 'static>,
) -> Result<Opened, Status> {
    ready(&mut way.grpc).await?;
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
    let mut answers = way.grpc.streaming(request, path, codec).await?.into_inner();
    loop {
        let Some(answer) = answers.message().await? else {
            return Ok(Opened::Refused("it gave no answer".into()));
        };
        if answer.canceled && answer.compact_revision > 0 {
            return Ok(Opened::Watch(vec![Notice::Compacted], Box::new(answers)));
        }
        if answer.canceled {
            return Ok(Opened::Refused(answer.cancel_reason));
        }
        if answer.created {
            return Ok(Opened::Watch(changed(answer), Box::new(answers)));
        }
    }
}

fn notices(answers: Streaming<WatchResponse>) -> impl stream::Stream<Item = Notice> + Send {
    let next = |mut answers: Streaming<WatchResponse>| async move {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => return None,
        };
        if answer.canceled {
            // Told where it is the reason; otherwise the watch just ends.
            let compacted = (answer.compact_revision > 0).then_some(Notice::Compacted);
            return Some((compacted.into_iter().collect(), None));
        }
        Some((changed(answer), Some(answers)))
    };
    stream::unfold(Some(answers), move |answers| async move {
        let notices: (Vec<Notice>, Option<Streaming<WatchResponse>>) = next(answers?).await?;
        Some(notices)
    })
    .flat_map(stream::iter)
}

fn changed(answer: WatchResponse) -> Vec<Notice> {
    let keys = answer.events.into_iter().filter_map(|event| event.kv);
    keys.map(|kv| Notice::Changed(kv.key, number(kv.mod_revision)))
        .collect()
}

/// The first key behind all that begin with a prefix, none of which ends in 0xff.
fn behind(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    end.push(0xff);
    Bytes::from(end)
}
