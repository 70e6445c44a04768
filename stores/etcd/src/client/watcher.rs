//! Watching keys.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::BootInstant;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::convert::{number, wired};
use super::identity::Proof;
use super::members::{Members, Way, ready};
use super::status::Verdict;
use super::wire::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::api::{Failed, Notice};

/// The changes of all keys with a prefix after a revision, or from now on. The stream ends when the connection does, when
/// the member has lost its leader, or when the registry ends the watch.
pub(super) async fn watch(
    members: &Arc<Members>,
    prefix: Bytes,
    after: Option<u64>,
    until: BootInstant,
) -> Result<BoxStream<'static, Notice>, Failed> {
    let create = WatchRequest {
        create: Some(WatchCreateRequest {
            range_end: behind(&prefix),
            key: prefix,
            start_revision: after.map_or(0, |revision| wired(revision).saturating_add(1)),
        }),
    };
    // A watch lasts as long as its requests' side is open.
    let requests = stream::iter([create]).chain(stream::pending());
    let (request, log_in) = members.request(requests, until).await?;
    let way = members.way()?;
    let place = way.place;
    let opened = members.bounded(until, open(way, request)).await;
    let failed = match opened {
        Some(Ok(Opened::Watch(first, header, answers))) => {
            if let Some(header) = header {
                members.identity.answered(0, Proof::Member, header)?;
            }
            let rest = notices(members.clone(), place, *answers);
            return Ok(stream::iter(first).chain(rest).boxed());
        }
        Some(Ok(Opened::Refused(reason))) => {
            // Told in words here. Old servers say the same of a token that is none any more.
            members.distrust(log_in);
            let code = match reason.contains("permission denied") {
                true => Code::PermissionDenied,
                false => Code::Unauthenticated,
            };
            match members.verdict(Status::new(code, reason), place, true) {
                Verdict::Authenticate(failed) | Verdict::Final { failed, .. } => {
                    return Err(failed);
                }
                Verdict::Elsewhere(why) => Members::unreached(&[why]),
            }
        }
        Some(Err(status)) => match members.verdict(status, place, true) {
            Verdict::Authenticate(failed) => {
                members.distrust(log_in);
                return Err(failed);
            }
            Verdict::Elsewhere(why) => Members::unreached(&[why]),
            Verdict::Final { failed, member } => {
                if !member {
                    return Err(failed);
                }
                failed
            }
        },
        None => members.silent(place),
    };
    members.failed(place);
    Err(failed)
}

enum Opened {
    Watch(
        Vec<Notice>,
        Option<ResponseHeader>,
        Box<Streaming<WatchResponse>>,
    ),
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
            return Err(Status::unavailable("the watch ended before it began"));
        };
        let header = answer.header;
        if answer.canceled && answer.compact_revision > 0 {
            return Ok(Opened::Watch(
                vec![Notice::Compacted],
                header,
                Box::new(answers),
            ));
        }
        if answer.canceled {
            return Ok(Opened::Refused(answer.cancel_reason));
        }
        if answer.created {
            return Ok(Opened::Watch(changed(answer), header, Box::new(answers)));
        }
    }
}

/// What a watch tells until it ends. Where its member is the reason, the next one is asked from then on.
fn notices(
    members: Arc<Members>,
    place: usize,
    answers: Streaming<WatchResponse>,
) -> impl stream::Stream<Item = Notice> + Send {
    stream::unfold(Some(answers), move |answers| {
        let members = members.clone();
        async move {
            let mut answers = answers?;
            let Ok(Some(answer)) = answers.message().await else {
                members.failed(place);
                return None;
            };
            if answer.canceled {
                // Told where it is the reason; otherwise the watch just ends.
                let compacted = (answer.compact_revision > 0).then_some(Notice::Compacted);
                return Some((compacted.into_iter().collect(), None));
            }
            Some((changed(answer), Some(answers)))
        }
    })
    .flat_map(|notices: Vec<Notice>| stream::iter(notices))
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
