//! The codes of a challenge as one column: they are only ever read and written together.

use crate::domain::challenge::{Carrier, Slot, Slots};
use crate::domain::channel::Channel;
use crate::domain::code::CodeHash;
use crate::domain::ids::MessageId;
use crate::domain::time::Timestamp;

/// A slot is hash, `sent_at`, `expires_at` (big endian), and each behind its length the message's id, its channel and
/// the network.
pub(super) fn encode(slots: &Slots) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * 128);
    for slot in slots.iter() {
        bytes.extend_from_slice(slot.hash.as_bytes());
        bytes.extend_from_slice(&slot.sent_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&slot.expires_at.as_millis().to_be_bytes());
        let Carrier { message, channel, network } = &slot.carrier;
        for text in [message.as_str(), channel.as_str(), network] {
            bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(text.as_bytes());
        }
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
    fn text(bytes: &mut &[u8]) -> Option<String> {
        let [length] = take::<1>(bytes)?;
        let (text, rest) = bytes.split_at_checked(usize::from(length))?;
        *bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
    let mut slots = Vec::new();
    while !bytes.is_empty() {
        let hash = CodeHash::from_bytes(&take::<{ CodeHash::BYTES }>(&mut bytes)?)?;
        let sent_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let expires_at = Timestamp::from_millis(i64::from_be_bytes(take(&mut bytes)?));
        let message = MessageId::from_stored(text(&mut bytes)?);
        let channel = Channel::parse(&text(&mut bytes)?)?;
        let carrier = Carrier { message, channel, network: text(&mut bytes)? };
        slots.push(Slot { hash, carrier, sent_at, expires_at });
    }
    Some(Slots::new(slots))
}
