//! Who the client is: a user and a password, and the token that a log-in gave for them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use leasehold_core::{BootInstant, Error, ErrorKind};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use super::members::Members;
use super::status::Verdict;
use super::wire::{AuthenticateRequest, AuthenticateResponse};
use crate::api::Failed;

/// Which log-in a request was made with; none without a user.
pub(super) type LogIn = Option<u64>;

/// The token of the last log-in. A server takes some 70 ms of its processor for one: of many requests that need a token
/// one logs in, and the others wait for it.
#[derive(Default)]
pub(super) struct Tokens {
    known: Mutex<Known>,
    logging_in: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// How many log-ins have been answered.
    count: u64,
    token: Option<MetadataValue<Ascii>>,
    /// Why the last one was refused, where it was.
    refused: Option<Error>,
}

impl Tokens {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Option<(LogIn, MetadataValue<Ascii>)> {
        let known = self.known();
        let token = known.token.clone()?;
        Some((Some(known.count), token))
    }
}

impl Members {
    /// That log-in's token is none any more: the next request logs in anew, unless one has done so already.
    pub(super) fn distrust(&self, log_in: LogIn) {
        let mut known = self.tokens.known();
        if log_in == Some(known.count) {
            known.token = None;
        }
    }

    pub(super) async fn token(
        &self,
        until: BootInstant,
    ) -> Result<Option<(LogIn, MetadataValue<Ascii>)>, Failed> {
        let Some(user) = &self.config.user else {
            return Ok(None);
        };
        let before = {
            let known = self.tokens.get();
            if known.is_some() {
                return Ok(known);
            }
            self.tokens.known().count
        };
        let turn = self.bounded(until, self.tokens.logging_in.lock()).await;
        let _turn = turn.ok_or_else(|| {
            let message = "nobody could log in to the registry in time";
            Failed::NotDone(Error::new(ErrorKind::Unavailable, message))
        })?;
        // Somebody else may have logged in meanwhile, or may have been refused.
        if let Some(token) = self.tokens.get() {
            return Ok(Some(token));
        }
        {
            let known = self.tokens.known();
            if let Some(refused) = known.refused.as_ref().filter(|_| known.count != before) {
                return Err(Failed::NotDone(refused.duplicate()));
            }
        }
        let request = AuthenticateRequest {
            name: user.name.clone(),
            password: user.password.reveal().to_owned(),
        };
        match self.log_in(&request, until).await {
            Ok(token) => {
                let mut known = self.tokens.known();
                known.count += 1;
                known.refused = None;
                known.token = Some(token.clone());
                Ok(Some((Some(known.count), token)))
            }
            Err((error, refused)) => {
                if refused {
                    let mut known = self.tokens.known();
                    known.count += 1;
                    known.refused = Some(error.duplicate());
                }
                // Nothing of what was asked for is done yet.
                Err(Failed::NotDone(error))
            }
        }
    }

    /// Logs in at one member after the other. An error comes with whether it is a refusal.
    async fn log_in(
        &self,
        request: &AuthenticateRequest,
        until: BootInstant,
    ) -> Result<MetadataValue<Ascii>, (Error, bool)> {
        let path = "/etcdserverpb.Auth/Authenticate";
        let mut whys = Vec::new();
        loop {
            let way = self.way().map_err(|failed| (failed.error(), false))?;
            let place = way.place;
            let answer: Result<AuthenticateResponse, Verdict> = self
                .asked(way, path, Request::new(request.clone()), until)
                .await;
            let error = match answer {
                Ok(AuthenticateResponse { token, .. }) => {
                    let mut token = token.parse::<MetadataValue<Ascii>>().map_err(|_| {
                        let message = "etcd gave a token that cannot be sent";
                        (Error::new(ErrorKind::Unavailable, message), false)
                    })?;
                    // Shown by nobody on the way, not even where frames are traced.
                    token.set_sensitive(true);
                    return Ok(token);
                }
                Err(Verdict::Final {
                    failed: Failed::NotDone(error),
                    ..
                }) => {
                    // What passes by itself is no refusal for those who wait.
                    let refused = error.kind() != ErrorKind::Unavailable;
                    return Err((error, refused));
                }
                Err(Verdict::Elsewhere(why)) => {
                    whys.push(why);
                    Members::unreached(&whys).error()
                }
                Err(Verdict::Final { failed, .. } | Verdict::Authenticate(failed)) => {
                    whys.push(failed.error().to_string());
                    failed.error()
                }
            };
            self.failed(place);
            if whys.len() >= self.count() || self.door.now() >= until {
                return Err((error, false));
            }
        }
    }
}
