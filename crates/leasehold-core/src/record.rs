//! The record: what a registry keeps for a name, and how it is read and written.
//!
//! One JSON object for every store. `MachineID` and `Version` come first, as fleet's `lease` package wrote and reads
//! them; then leasehold's own fields. A record without a `MachineID` is a *tombstone*: the name is held by nobody.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::name::is_unprintable;
use crate::status::shown;

/// What this version of leasehold can read: a record whose `needs` is larger counts as held.
pub const READER_VERSION: u64 = 1;
/// The longest machine id, in bytes.
pub const MAX_MACHINE_ID_BYTES: usize = 1024;
/// The longest note, in bytes.
pub const MAX_NOTE_BYTES: usize = 1024;
/// The most data a lessee may keep with its lease, in bytes.
pub const MAX_DATA_BYTES: usize = 64 * 1024;
/// Index and fence stay below this, so that they survive JSON readers with floating-point numbers.
pub const MAX_INDEX: u64 = (1 << 53) - 1;

/// The random name of one write, kept in the record so that an unknown outcome can be resolved later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub [u8; 16]);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl AttemptId {
    fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(id))
    }
}

/// How a term ended, as told to the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// In which way.
    pub how: EndedHow,
    /// The machine id of whoever ended it, where somebody did.
    pub by: Option<String>,
    /// The reason that was given, where one was.
    pub reason: Option<String>,
    /// The fence of the term that ended.
    pub fence: Option<u64>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.how {
            EndedHow::Unknown => f.write_str("expired or unknown")?,
            how => f.write_str(how.as_str())?,
        }
        if let Some(by) = &self.by {
            write!(f, " by {}", shown(by))?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " ({})", shown(reason))?;
        }
        Ok(())
    }
}

/// Who closed a slot, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The machine id of the lessee whose run closed it.
    pub by: String,
    /// When it began, by its wall clock.
    pub at: SystemTime,
}

/// The ways a term can end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndedHow {
    /// Released by its own lessee: a clean end.
    Released,
    /// Stolen by another lessee.
    Stolen,
    /// Broken by an operator or a tool.
    Broken,
    /// Handed over to a named successor.
    HandedOver,
    /// It ran out: the lessee crashed, was cut off, or stopped renewing.
    Expired,
    /// Nobody knows.
    Unknown,
}

impl EndedHow {
    /// The word in the record and in the command's output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Stolen => "stolen",
            Self::Broken => "broken",
            Self::HandedOver => "handed over",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    fn parse(word: &str) -> Self {
        [
            Self::Released,
            Self::Stolen,
            Self::Broken,
            Self::HandedOver,
            Self::Expired,
        ]
        .into_iter()
        .find(|how| how.as_str() == word)
        .unwrap_or(Self::Unknown)
    }
}

/// The part of a record that renewals leave alone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Body {
    /// The lessee; none in a tombstone.
    pub machine_id: Option<String>,
    /// The lessee's version of itself.
    pub version: i64,
    /// The least reader version that may treat the name as vacant or replace the record.
    pub needs: u64,
    /// When the term began by the lessee's wall clock: shown, never compared.
    pub since: Option<SystemTime>,
    /// A sentence for people.
    pub note: Option<String>,
    /// The lessee's own bytes.
    pub data: Option<Bytes>,
    /// The take-over policy of a versioned take-over.
    pub policy: Option<String>,
    /// Until when, by wall time, a slot is closed: policy, never belief.
    pub closed: Option<SystemTime>,
    /// Who closed it.
    pub ran: Option<Box<Ran>>,
    /// How much longer than its period a grant keeps the name taken: a delay between terms after an end that was not clean.
    pub delay: Duration,
    /// A hand-over that its successor has not taken up yet: nobody believes this grant.
    pub unconfirmed: bool,
    /// How the previous term ended.
    pub ended: Option<Box<Ended>>,
    /// Fields this version does not know, kept as they are.
    pub unknown: Map<String, Value>,
}

/// A record as leasehold reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// The index, where the store has no number of its own for it.
    pub index: Option<u64>,
    /// The fence of the term; none means the index is the fence.
    pub fence: Option<u64>,
    /// The attempt that wrote the record; none in foreign records.
    pub attempt: Option<AttemptId>,
    /// The granted period; none in tombstones and foreign records.
    pub period: Option<Duration>,
    /// How long after the record was written its grant may not be believed (a steal's wait), for readers who cannot
    /// place an instant on the store's clock.
    pub wait: Duration,
    /// How long after the record was written the name stays taken, for the same readers.
    pub hold: Duration,
    /// The rest.
    pub body: Arc<Body>,
    /// Whether leasehold wrote it, and if not, how it was read.
    pub origin: Origin,
}

/// Who wrote a record, as far as its bytes tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// leasehold, in a form this version understands.
    Leasehold,
    /// Something that reads as fleet read it: a held lease with a machine id and a version.
    Fleet,
    /// A leasehold newer than this one, whose records need at least the given reader version.
    Newer(u64),
    /// Neither: what was found, in words.
    Unreadable(String),
}

impl Record {
    /// The record of a grant or a tombstone, to be written.
    #[must_use]
    pub fn new(body: Arc<Body>, attempt: AttemptId) -> Self {
        Self {
            index: None,
            fence: None,
            attempt: Some(attempt),
            period: None,
            wait: Duration::ZERO,
            hold: Duration::ZERO,
            body,
            origin: Origin::Leasehold,
        }
    }

    /// Whether the record names a lessee, or counts as held because it is not ours to judge.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.body.machine_id.is_some() || !matches!(self.origin, Origin::Leasehold)
    }

    /// The fence of the record's term, given the record's index.
    #[must_use]
    pub fn fence_at(&self, index: u64) -> u64 {
        self.fence.unwrap_or(index)
    }

    /// An error if a replacement of the record could damage something of others: foreign bytes that cannot be read,
    /// or a record that needs a newer reader.
    ///
    /// # Errors
    /// [`ErrorKind::Foreign`], saying what was found.
    pub fn judged(&self) -> Result<()> {
        match &self.origin {
            Origin::Leasehold | Origin::Fleet => Ok(()),
            Origin::Newer(needs) => Err(Error::new(
                ErrorKind::Foreign,
                format!(
                    "the record needs a reader of version {needs} and this one is of version {READER_VERSION}: it \
                     counts as held; upgrade leasehold here"
                ),
            )),
            Origin::Unreadable(found) => Err(Error::new(
                ErrorKind::Foreign,
                format!(
                    "the registry holds {found} under this name, which is no lease: it counts as held and was left alone"
                ),
            )),
        }
    }

    /// The whole record as JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body.fields();
        if let Some(index) = self.index {
            out.insert("index".into(), index.into());
        }
        if let Some(fence) = self.fence {
            out.insert("fence".into(), fence.into());
        }
        if let Some(attempt) = self.attempt {
            out.insert("attempt".into(), attempt.to_string().into());
        }
        for (key, length) in [
            ("period", self.period),
            ("wait", some(self.wait)),
            ("hold", some(self.hold)),
        ] {
            if let Some(length) = length {
                out.insert(key.into(), micros(length).into());
            }
        }
        Value::Object(out).to_string().into_bytes()
    }

    /// Only the body as JSON, for stores that keep index, fence, attempt and lengths in columns of their own.
    #[must_use]
    pub fn encode_body(&self) -> Vec<u8> {
        Value::Object(self.body.fields()).to_string().into_bytes()
    }

    /// Reads a record, or a body that [`Record::encode_body`] wrote. Never fails: what is not ours is read as fleet
    /// read it, and what cannot be read that way is said in [`Record::origin`].
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(Value::Object(fields)) => Self::from_fields(fields, bytes),
            // fleet: whatever is no JSON object is the bare machine id of an engine older than versioning.
            _ => Self::bare(bytes),
        }
    }

    fn bare(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if (1..=MAX_MACHINE_ID_BYTES).contains(&text.len()) => {
                Self::fleet(text, 0, Map::new())
            }
            Ok(text) => Self::unreadable(format!("{} bytes of text", text.len())),
            Err(_) => Self::unreadable(format!("{} bytes that are no text", bytes.len())),
        }
    }

    fn fleet(machine_id: &str, version: i64, unknown: Map<String, Value>) -> Self {
        let body = Body {
            machine_id: Some(machine_id.into()),
            version,
            unknown,
            ..Body::default()
        };
        Self {
            attempt: None,
            origin: Origin::Fleet,
            ..Self::new(Arc::new(body), AttemptId([0; 16]))
        }
    }

    fn unreadable(found: String) -> Self {
        Self {
            attempt: None,
            origin: Origin::Unreadable(found),
            ..Self::new(Arc::new(Body::default()), AttemptId([0; 16]))
        }
    }

    fn from_fields(mut fields: Map<String, Value>, bytes: &[u8]) -> Self {
        if let Some(needs) = fields.get("needs").and_then(Value::as_u64)
            && needs > READER_VERSION
        {
            let machine_id = fields
                .get("MachineID")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let body = Body {
                machine_id,
                needs,
                unknown: fields,
                ..Body::default()
            };
            return Self {
                attempt: None,
                origin: Origin::Newer(needs),
                ..Self::new(Arc::new(body), AttemptId([0; 16]))
            };
        }
        let machine_id = match fields.remove("MachineID") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Self::bare(bytes),
        };
        let version = match fields.remove("Version") {
            None | Some(Value::Null) => 0,
            Some(Value::Number(n)) if n.is_i64() => n.as_i64().unwrap_or_default(),
            Some(_) => return Self::bare(bytes),
        };
        // Every record of ours says which reader it needs, and none needs less than the first.
        let needs = fields.get("needs").filter(|needs| !needs.is_null());
        if needs.is_none_or(|needs| needs.as_u64() == Some(0)) {
            return match machine_id {
                Some(id) if (1..=MAX_MACHINE_ID_BYTES).contains(&id.len()) => {
                    Self::fleet(&id, version, fields)
                }
                _ => Self::unreadable("a JSON object without a usable MachineID".into()),
            };
        }
        Self::ours(machine_id, version, fields).unwrap_or_else(|field| {
            Self::unreadable(format!("a lease record whose field {field:?} is damaged"))
        })
    }

    fn ours(
        machine_id: Option<String>,
        version: i64,
        mut fields: Map<String, Value>,
    ) -> Result<Self, &'static str> {
        fn take<T>(
            fields: &mut Map<String, Value>,
            key: &'static str,
            read: impl FnOnce(&Value) -> Option<T>,
        ) -> Result<Option<T>, &'static str> {
            match fields.remove(key) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => read(&value).map(Some).ok_or(key),
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let number = |value: &Value| value.as_u64().filter(|n| *n <= MAX_INDEX);
        let length = |value: &Value| value.as_u64().map(Duration::from_micros);
        let time = |value: &Value| {
            value
                .as_str()
                .and_then(|t| t.parse::<jiff::Timestamp>().ok())
                .and_then(|time| SystemTime::try_from(time).ok())
        };
        if machine_id
            .as_ref()
            .is_some_and(|id| id.is_empty() || id.len() > MAX_MACHINE_ID_BYTES)
        {
            return Err("MachineID");
        }
        let f = &mut fields;
        Ok(Self {
            index: take(f, "index", number)?,
            fence: take(f, "fence", number)?,
            attempt: take(f, "attempt", |v| v.as_str().and_then(AttemptId::parse))?,
            period: take(f, "period", length)?,
            wait: take(f, "wait", length)?.unwrap_or_default(),
            hold: take(f, "hold", length)?.unwrap_or_default(),
            origin: Origin::Leasehold,
            body: Arc::new(Body {
                // A tombstone has no lessee, so no lessee's version.
                version: machine_id.as_ref().map_or(0, |_| version),
                machine_id,
                needs: take(f, "needs", number)?.unwrap_or_default(),
                since: take(f, "since", time)?,
                note: take(f, "note", text)?,
                data: take(f, "data", |v| {
                    v.as_str()
                        .and_then(|t| BASE64.decode(t).ok())
                        .map(Bytes::from)
                })?,
                policy: take(f, "policy", text)?,
                closed: take(f, "closed", time)?,
                ran: take(f, "ran", |v| {
                    let by = v.get("by")?.as_str()?.to_owned();
                    let at = time(v.get("at")?)?;
                    Some(Box::new(Ran { by, at }))
                })?,
                delay: take(f, "delay", length)?.unwrap_or_default(),
                unconfirmed: take(f, "unconfirmed", Value::as_bool)?.unwrap_or_default(),
                ended: take(f, "ended", Ended::read)?.map(Box::new),
                unknown: fields,
            }),
        })
    }
}

impl Body {
    fn fields(&self) -> Map<String, Value> {
        let mut out = Map::new();
        if let Some(id) = &self.machine_id {
            out.insert("MachineID".into(), id.as_str().into());
            out.insert("Version".into(), self.version.into());
        }
        out.insert("needs".into(), self.needs.max(1).into());
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(key.into(), value);
            }
        };
        put("since", self.since.and_then(rfc3339).map(Value::from));
        put("note", self.note.as_deref().map(Value::from));
        put(
            "data",
            self.data.as_ref().map(|data| BASE64.encode(data).into()),
        );
        put("policy", self.policy.as_deref().map(Value::from));
        put("closed", self.closed.and_then(rfc3339).map(Value::from));
        put("ran", self.ran.as_deref().and_then(Ran::write));
        put("delay", some(self.delay).map(|delay| micros(delay).into()));
        put("unconfirmed", self.unconfirmed.then_some(Value::Bool(true)));
        put("ended", self.ended.as_deref().map(Ended::write));
        for (key, value) in &self.unknown {
            out.entry(key.as_str()).or_insert_with(|| value.clone());
        }
        out
    }
}

impl Ran {
    fn write(&self) -> Option<Value> {
        let mut out = Map::new();
        out.insert("by".into(), self.by.as_str().into());
        out.insert("at".into(), rfc3339(self.at)?.into());
        Some(Value::Object(out))
    }
}

impl Ended {
    fn write(&self) -> Value {
        let mut out = Map::new();
        out.insert("how".into(), self.how.as_str().into());
        if let Some(by) = &self.by {
            out.insert("by".into(), by.as_str().into());
        }
        if let Some(reason) = &self.reason {
            out.insert("reason".into(), reason.as_str().into());
        }
        if let Some(fence) = self.fence {
            out.insert("fence".into(), fence.into());
        }
        Value::Object(out)
    }

    fn read(value: &Value) -> Option<Self> {
        let fields = value.as_object()?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            how: EndedHow::parse(fields.get("how")?.as_str()?),
            by: text("by"),
            reason: text("reason"),
            fence: fields
                .get("fence")
                .and_then(Value::as_u64)
                .filter(|n| *n <= MAX_INDEX),
        })
    }
}

/// `2026-01-31T12:00:00.123456Z`, in UTC.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|t| t.to_string())
}

fn some(length: Duration) -> Option<Duration> {
    (!length.is_zero()).then_some(length)
}

/// Whole microseconds, rounded up: a wait may get longer by this, never shorter.
fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Checks a machine id: 1 to 1024 bytes of UTF-8 without control characters.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], saying what is wrong with it.
pub fn check_machine_id(id: &str) -> Result<()> {
    let reason = if id.is_empty() {
        "it is empty".to_owned()
    } else if id.len() > MAX_MACHINE_ID_BYTES {
        format!(
            "it has {} bytes, more than {MAX_MACHINE_ID_BYTES}",
            id.len()
        )
    } else if let Some(c) = id.chars().find(|c| is_unprintable(*c)) {
        format!("it contains the control character U+{:04X}", u32::from(c))
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("not a machine id: {reason}"),
    ))
}

/// Checks a note (at most 1 KiB, no control characters) and data (at most 64 KiB).
pub(crate) fn check_details(note: Option<&str>, data: Option<&[u8]>) -> Result<()> {
    if let Some(note) = note {
        if note.len() > MAX_NOTE_BYTES {
            let message = format!(
                "the note has {} bytes, more than {MAX_NOTE_BYTES}",
                note.len()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if let Some(c) = note.chars().find(|c| is_unprintable(*c)) {
            let message = format!(
                "the note contains the control character U+{:04X}",
                u32::from(c)
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    }
    if let Some(data) = data
        && data.len() > MAX_DATA_BYTES
    {
        let message = format!(
            "the data has {} bytes, more than {MAX_DATA_BYTES}",
            data.len()
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
