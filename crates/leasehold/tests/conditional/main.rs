//! The pattern for what is kept behind conditional requests (`If-Match`, as object stores have it), on a small real server: the
//! fence is part of the object, and a write names what was read after marking. docs/fencing.md tells it in words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod server;

use std::time::Duration;

use leasehold::{Lease, Manager};
use server::{Answer, Etags, Server};

/// Where the fence is kept.
#[derive(Clone, Copy, PartialEq)]
enum Fence {
    /// In the object.
    Body,
    /// In a header beside it, as metadata.
    Metadata,
}

/// The object as it was read: what a write has to name.
#[derive(Debug, PartialEq)]
struct Read {
    etag: String,
    fence: u64,
    text: String,
}

/// Another term has been here.
#[derive(Debug, PartialEq)]
struct Over {
    later: u64,
}

struct Client<'a> {
    server: &'a Server,
    place: Fence,
}

impl Client<'_> {
    fn read(&self) -> Option<Read> {
        let Answer {
            etag, fence, body, ..
        } = self.server.get("/state")?;
        if self.place == Fence::Metadata {
            let fence = fence.map_or(0, |fence| fence.parse().unwrap());
            return Some(Read {
                etag,
                fence,
                text: body,
            });
        }
        let (fence, text) = body.split_once('\n').unwrap();
        Some(Read {
            etag,
            fence: fence.parse().unwrap(),
            text: text.to_owned(),
        })
    }

    /// Writes in place of what was read; none where something else is there.
    fn put(&self, before: Option<&Read>, fence: u64, text: &str) -> Option<Read> {
        let condition = match before {
            Some(read) => format!("If-Match: {}", read.etag),
            None => "If-None-Match: *".to_owned(),
        };
        let (header, body) = match self.place {
            Fence::Metadata => (format!("x-fence: {fence}"), text.to_owned()),
            Fence::Body => (String::new(), format!("{fence}\n{text}")),
        };
        let etag = self.server.put("/state", &condition, &header, &body)?;
        let text = text.to_owned();
        Some(Read { etag, fence, text })
    }

    /// What a new lessee does first: from here on every write of an earlier term is refused. What it gives was read after
    /// that, and nothing else may be taken for the state.
    fn mark(&self, fence: u64) -> Result<Read, Over> {
        loop {
            let found = self.read();
            let (there, text) = match &found {
                Some(read) => (read.fence, read.text.as_str()),
                None => (0, ""),
            };
            if there > fence {
                return Err(Over { later: there });
            }
            // Not written: somebody else did, so what is there is read anew.
            if let Some(marked) = self.put(found.as_ref(), fence, text) {
                return Ok(marked);
            }
        }
    }

    /// A write of the term. Refused, it asks who has been here: a retry that blindly named what is there now would be no
    /// better than no condition.
    fn write(&self, read: &Read, text: &str) -> Result<Read, Over> {
        if let Some(written) = self.put(Some(read), read.fence, text) {
            return Ok(written);
        }
        let later = self.read().map_or(u64::MAX, |found| found.fence);
        Err(Over { later })
    }
}

async fn manager() -> Manager {
    leasehold::open("memory:").await.unwrap()
}

const PERIOD: Duration = Duration::from_millis(200);

async fn take(manager: &Manager) -> Lease {
    loop {
        let lease = manager
            .acquire_lease("state", "m", 0, PERIOD)
            .await
            .unwrap();
        if let Some(lease) = lease {
            return lease;
        }
        manager
            .door()
            .sleep_until(manager.door().now().plus(PERIOD / 10))
            .await;
    }
}

/// The old holder has read, checks that its term stands, and stands still; its successor marks; it goes on, and writes.
#[tokio::test]
async fn a_paused_holder_s_late_write_is_refused() {
    for etags in [Etags::OfContent, Etags::OfEachWrite] {
        let (manager, server) = (manager().await, Server::start(etags));
        let client = Client {
            server: &server,
            place: Fence::Body,
        };
        let old = take(&manager).await;
        let read = client.mark(old.fence()).unwrap();
        let read = client.write(&read, "one").unwrap();
        assert!(old.is_current());
        let new = take(&manager).await;
        let marked = client.mark(new.fence()).unwrap();
        assert_eq!(marked.text, "one");
        let later = new.fence();
        assert_eq!(client.write(&read, "late"), Err(Over { later }));
        assert_eq!(client.mark(old.fence()), Err(Over { later }));
        client.write(&marked, "two").unwrap();
        assert_eq!(client.read().unwrap().text, "two");
    }
}

/// Why the fence belongs into what the ETag is made of: that of many object stores is a hash of the content, and does
/// not change where metadata alone do.
#[tokio::test]
async fn a_mark_beside_the_content_does_not_move_an_etag_of_the_content() {
    for (etags, refused) in [(Etags::OfContent, false), (Etags::OfEachWrite, true)] {
        let server = Server::start(etags);
        let client = Client {
            server: &server,
            place: Fence::Metadata,
        };
        let read = client.mark(7).unwrap();
        let read = client.write(&read, "one").unwrap();
        client.mark(9).unwrap();
        assert_eq!(client.write(&read, "late").is_err(), refused, "{etags:?}");
    }
}

/// Why a new lessee marks before it reads, and takes what the mark gives: until then the old one's write lands.
#[tokio::test]
async fn who_reads_before_it_marks_misses_the_old_ones_last_write() {
    for marks_first in [false, true] {
        let server = Server::start(Etags::OfContent);
        let client = Client {
            server: &server,
            place: Fence::Body,
        };
        let old = client.mark(7).unwrap();
        let before = client.read().unwrap();
        let marked = marks_first.then(|| client.mark(9).unwrap());
        let late = client.write(&old, "late");
        assert_eq!(late.is_err(), marks_first);
        let marked = marked.unwrap_or_else(|| client.mark(9).unwrap());
        assert_eq!(
            marked.text == before.text,
            marks_first,
            "the old one's write is lost"
        );
        assert_eq!(client.read().unwrap(), marked);
    }
}

/// Two who begin at once, and a server that had nothing.
#[tokio::test]
async fn of_two_who_mark_at_once_the_later_term_stays() {
    for etags in [Etags::OfContent, Etags::OfEachWrite] {
        let server = Server::start(etags);
        std::thread::scope(|scope| {
            for fence in 1..=8 {
                let server = &server;
                scope.spawn(move || {
                    let client = Client {
                        server,
                        place: Fence::Body,
                    };
                    _ = client.mark(fence);
                });
            }
        });
        let client = Client {
            server: &server,
            place: Fence::Body,
        };
        assert_eq!(client.read().unwrap().fence, 8);
    }
}
