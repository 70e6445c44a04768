//! One state of the modelled world: processes, their messages in flight, the registry.
//!
//! Every field is a number below 16, so that a state packs into half a byte a field. Instants are kept as what is left of
//! them, each on the clock of whoever keeps it: no absolute time, and the space of states is finite without a bound on it.

/// How many processes a state has room for.
pub const PROCESSES: usize = 3;
/// How many of a process's requests, and of the replies to it, can be in flight at once.
pub const FLIGHT: usize = 2;
/// How many native leases can exist at once.
pub const NATIVE: usize = 4;

/// A struct of fields below 16, and its place in a word: half a byte a field.
macro_rules! fields {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name { $($(#[$doc])* pub $field: u8,)* }
        impl $name {
            const BITS: u32 = 4 * [$(stringify!($field)),*].len() as u32;

            fn word(&self) -> u64 {
                let mut word = 0;
                let mut all = 0;
                $(
                    word = word << 4 | u64::from(self.$field & 15);
                    all |= self.$field;
                )*
                // Better no answer than a wrong one.
                assert!(all < 16, "the bounds are too large: a number in {self:?} does not fit half a byte");
                word
            }

            fn of(word: u64) -> Self {
                let mut at = Self::BITS;
                Self { $($field: { at -= 4; (word >> at & 15) as u8 },)* }
            }
        }
    };
}

fields! {
/// A lease's handle in the process that was granted it.
Handle {
    /// [`NONE`], [`LIVE`] or [`OVER`].
    standing,
    /// The index of the latest grant that it knows of.
    index,
    /// The term's fence.
    fence,
    /// What is left until belief begins.
    begin,
    /// What is left until belief ends.
    deadline,
    /// The native lease that carries the expiry, one more than its place; zero: none.
    lease,
}}

/// No handle.
pub const NONE: u8 = 0;
/// A handle whose term may still be current.
pub const LIVE: u8 = 1;
/// A handle whose term is over; what was granted may still be given back.
pub const OVER: u8 = 2;

fields! {
/// The one change that a process has outstanding.
Pending {
    /// Which operation, as [`crate::event::Op`] numbers them; zero: none.
    op,
    /// Its attempt id.
    attempt,
    /// The predecessor that it names.
    expect,
    /// What is left until the deadline that it would give, counted from its first send.
    left,
    /// [`RESENT`], [`SHORT`], [`APPLIED`], [`ASKED`].
    flags,
    /// The native lease that was granted for it, one more than its place.
    lease,
    /// One more than the raft term of its swap, once that is known to be applied.
    term,
    /// One more than the raft term of its keep-alive's answer, once that is there.
    kept,
    /// What is left until the deadline that the keep-alive's own send would give.
    kept_left,
}}

/// The attempt was sent more than once.
pub const RESENT: u8 = 1;
/// It asks for the short period.
pub const SHORT: u8 = 2;
/// It was applied, unknown to the process (told to later copies of it).
pub const APPLIED: u8 = 4;
/// Its keep-alive was sent.
pub const ASKED: u8 = 8;

fields! {
/// What a process knows of the record.
Sight {
    /// [`ABSENT`], [`TOMBSTONE`] or [`HELD`].
    kind,
    /// The record's index.
    index,
    /// What is left of the grant, or of a tombstone's wait.
    hold,
    /// What is left of the wait that the record carries.
    wait,
}}

/// No record, or none that is known.
pub const ABSENT: u8 = 0;
/// A record without a lessee.
pub const TOMBSTONE: u8 = 1;
/// A record that names a lessee, expired or not.
pub const HELD: u8 = 2;

fields! {
/// A request on its way to the registry.
Request {
    /// Which operation; zero: no request.
    op,
    /// The attempt id.
    attempt,
    /// The index that it names; zero: no record.
    expect,
    /// How long it holds: the period asked for, or what an observer worked out.
    hold,
    /// The wait that an observer worked out.
    wait,
    /// The term's fence, in a renewal; the index, where it is drawn too early.
    fence,
    /// The native lease that it attaches the key to.
    lease,
    /// [`DENIED`], [`AGAIN`].
    flags,
}}

/// The process was told that this attempt was not applied.
pub const DENIED: u8 = 1;
/// A copy of this attempt was applied already.
pub const AGAIN: u8 = 2;

fields! {
/// A reply on its way to a process.
Reply {
    /// [`DONE`], [`OWN`], [`GONE`], [`STANDING`], [`ALIVE`], [`DEAD`]; zero: no reply.
    verdict,
    /// The attempt id that it answers.
    attempt,
    /// The record's index.
    index,
    /// What the record holds.
    hold,
    /// What is left of the record's wait.
    wait,
    /// The raft term of who answered.
    term,
}}

/// Applied.
pub const DONE: u8 = 1;
/// Refused, and the record found shows this very attempt.
pub const OWN: u8 = 2;
/// Refused, and the named predecessor is gone for good.
pub const GONE: u8 = 3;
/// Refused, but the named predecessor still stands (not vacant yet, or run out).
pub const STANDING: u8 = 4;
/// The native lease was kept alive.
pub const ALIVE: u8 = 5;
/// The native lease is dead.
pub const DEAD: u8 = 6;

/// A process.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Process {
    /// Its handle.
    pub handle: Handle,
    /// Its outstanding change.
    pub pending: Pending,
    /// What it knows of the record.
    pub sight: Sight,
    /// The attempt whose outcome it reported as unknown, while it can still be found.
    pub gave: u8,
    /// Only for weakened clauses: one more than how long ago it sent a read, or the native lease that it would use again.
    pub extra: u8,
    /// Requests in flight.
    pub requests: [Request; FLIGHT],
    /// Replies in flight.
    pub replies: [Reply; FLIGHT],
}

impl Process {
    /// All of it but `extra`, in three words.
    fn words(&self) -> [u64; 3] {
        let [first, second] = &self.requests;
        let [one, two] = &self.replies;
        [
            self.handle.word() << (Pending::BITS + 4)
                | self.pending.word() << 4
                | u64::from(self.gave),
            first.word() << Request::BITS | second.word(),
            one.word() << (Reply::BITS + Sight::BITS)
                | two.word() << Sight::BITS
                | self.sight.word(),
        ]
    }

    fn of(words: [u64; 3], extra: u8) -> Self {
        let [state, requests, rest] = words;
        Self {
            handle: Handle::of(state >> (Pending::BITS + 4)),
            pending: Pending::of(state >> 4),
            sight: Sight::of(rest),
            gave: (state & 15) as u8,
            extra,
            requests: [
                Request::of(requests >> Request::BITS),
                Request::of(requests),
            ],
            replies: [
                Reply::of(rest >> (Reply::BITS + Sight::BITS)),
                Reply::of(rest >> Sight::BITS),
            ],
        }
    }

    /// Puts what is in flight in order.
    pub(crate) fn sort_flight(&mut self) {
        let ([first, second], [one, two]) = (&mut self.requests, &mut self.replies);
        if first.word() > second.word() {
            std::mem::swap(first, second);
        }
        if one.word() > two.word() {
            std::mem::swap(one, two);
        }
    }

    /// Whether it takes itself for the lessee now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.handle.standing == LIVE && self.handle.begin == 0 && self.handle.deadline > 0
    }
}

fields! {
/// A native lease of the registry: an object with a life of its own, to which the key is attached.
Native {
    /// Its length; zero: no such lease.
    ttl,
    /// What is left of it.
    left,
    /// Whether it is alive.
    alive,
}}

fields! {
/// The registry's record of the name, and what the laws remember.
Record {
    /// [`ABSENT`], [`TOMBSTONE`] or [`HELD`].
    kind,
    /// Its index.
    index,
    /// Its fence.
    fence,
    /// The attempt that wrote it, while anybody may still ask.
    attempt,
    /// What is left until the name is vacant (server's clock).
    hold,
    /// What is left of a steal's wait (server's clock).
    wait,
    /// How long it held when it was written.
    hold_length,
    /// How long its wait was when it was written.
    wait_length,
    /// The native lease that the key is attached to, one more than its place.
    lease,
    /// The store's own counter.
    counter,
    /// The largest index or fence that was ever shown.
    top,
    /// The raft term.
    term,
    /// For the law *not early*: what is left of the last grant.
    early,
    /// For the same law: what is left of the waits that it carries.
    early_wait,
}}

/// The whole world.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct State {
    /// The processes.
    pub processes: [Process; PROCESSES],
    /// The record.
    pub record: Record,
    /// Native leases.
    pub native: [Native; NATIVE],
    /// How many operations were begun.
    pub operations: u8,
    /// How many crashes there were.
    pub crashes: u8,
    /// How many restarts or leader changes there were.
    pub restarts: u8,
}

/// A packed state.
pub type Packed = [u64; 11];

impl State {
    /// Packs it, the first `count` processes put in order; and where each of them was.
    ///
    /// # Panics
    /// Where the bounds are so large that a number does not fit its half byte.
    #[must_use]
    pub fn pack(&self, count: usize) -> (Packed, [usize; PROCESSES]) {
        let mut all = [0, 1, 2].map(|place: usize| {
            let process = &self.processes[place];
            (process.words(), process.extra, place)
        });
        all[..count].sort_unstable();
        let mut packed = [0; 11];
        let mut extras = 0;
        for (place, (words, extra, _)) in all.iter().enumerate() {
            packed[3 * place..3 * place + 3].copy_from_slice(words);
            extras = extras << 4 | u64::from(*extra & 15);
        }
        packed[9] = self.record.word() << 8
            | u64::from(self.crashes & 15) << 4
            | u64::from(self.restarts & 15);
        let mut native = 0;
        for lease in &self.native {
            native = native << Native::BITS | lease.word();
        }
        packed[10] = native << 16 | u64::from(self.operations & 15) << 12 | extras;
        (packed, all.map(|(_, _, place)| place))
    }

    /// The reverse.
    #[must_use]
    pub fn unpack(packed: &Packed) -> Self {
        let [.., first, last] = *packed;
        let process = |place: usize| {
            let words = [
                packed[3 * place],
                packed[3 * place + 1],
                packed[3 * place + 2],
            ];
            Process::of(words, (last >> (8 - 4 * place) & 15) as u8)
        };
        let native = |place: u32| Native::of(last >> (16 + Native::BITS * (3 - place)));
        Self {
            processes: [process(0), process(1), process(2)],
            record: Record::of(first >> 8),
            native: [native(0), native(1), native(2), native(3)],
            operations: (last >> 12 & 15) as u8,
            crashes: (first >> 4 & 15) as u8,
            restarts: (first & 15) as u8,
        }
    }
}

/// A packed state's fingerprint; never zero.
#[must_use]
pub fn fingerprint(packed: &Packed) -> u64 {
    let mut hash: u64 = 0x9e37_79b9_7f4a_7c15;
    for word in packed {
        // A folded multiplication mixes both halves of the product.
        let product = u128::from(hash ^ word) * u128::from(0xa076_1d64_78bd_642f_u64);
        hash = (product as u64) ^ ((product >> 64) as u64).rotate_left(29) ^ hash.rotate_left(17);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xe703_7ed1_a0b4_28db);
    hash ^= hash >> 29;
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_bit() {
        // Any word is some state's: so every bit has its field, and every field its bits.
        let mut packed = [0_u64; 11];
        for (place, word) in packed.iter_mut().enumerate() {
            *word = fingerprint(&[place as u64; 11]);
        }
        let state = State::unpack(&packed);
        assert_eq!(state.pack(0).0, packed);
        for bit in 0..704 {
            let mut other = packed;
            other[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(State::unpack(&other), state, "bit {bit}");
            assert_ne!(fingerprint(&other), fingerprint(&packed));
        }
    }

    #[test]
    fn processes_are_put_in_order() {
        let mut state = State::default();
        state.processes[0].gave = 3;
        state.processes[2].extra = 2;
        let (packed, places) = state.pack(3);
        assert_eq!(places, [1, 2, 0]);
        let sorted = State::unpack(&packed);
        assert_eq!(
            [0, 1, 2].map(|place| sorted.processes[place]),
            places.map(|place| state.processes[place])
        );
    }
}
