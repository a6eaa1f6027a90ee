//! The codes of a challenge as one column: they are only ever read and written together.

use crate::domain::challenge::{NetworkTag, Slot, Slots};
use crate::domain::code::CodeHash;
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;

/// A slot is hash, `sent_at`, `expires_at` (big endian), network, and the message's id behind its length.
pub(super) fn encode(slots: &Slots) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * 88);
    for slot in slots.iter() {
        bytes.extend_from_slice(slot.hash.as_bytes());
        bytes.extend_from_slice(&slot.sent_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&slot.expires_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(slot.network.as_bytes());
        let message = slot.message.as_str().as_bytes();
        bytes.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(message);
    }
    bytes
}

/// None: these are not slots of ours.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Slots> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = bytes.split_first_chunk::<N>()?;
        *bytes = tail;
        Some(*head)
    }
    let mut slots = Vec::new();
    while !bytes.is_empty() {
        let hash = CodeHash::from_bytes(&take::<{ CodeHash::BYTES }>(&mut bytes)?)?;
        let sent_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let expires_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let network = NetworkTag::from_bytes(take(&mut bytes)?);
        let [length] = take::<1>(&mut bytes)?;
        let (message, rest) = bytes.split_at_checked(usize::from(length))?;
        bytes = rest;
        let message = MessageId::from_stored(String::from_utf8(message.to_vec()).ok()?);
        slots.push(Slot { hash, message, sent_at, expires_at, network });
    }
    Some(Slots::new(slots))
}
