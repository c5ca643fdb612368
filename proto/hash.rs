//! Checksums: MurmurHash3 (x86, 32 bit) over words, as every language has it or can write it in ten lines.
//!
//! They find bugs, not attackers: a client that lies to itself harms only itself.

use crate::model::Entity;

/// `MurmurHash3_x86_32` (Austin Appleby, public domain), fed with whole words.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    state: u32,
    words: u32,
}

impl Hasher {
    /// Starts from a seed.
    pub fn new(seed: u32) -> Self {
        Self { state: seed, words: 0 }
    }

    /// Takes one word.
    pub fn word(&mut self, word: u32) {
        let mixed = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        self.state = (self.state ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        self.words = self.words.wrapping_add(1);
    }

    /// Takes the length, then the bytes as little-endian words, the last one padded with zeros.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u32);
        for chunk in bytes.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u32::from_le_bytes(word));
        }
    }

    /// The hash of all words taken.
    pub fn finish(self) -> u32 {
        let mut hash = self.state ^ self.words.wrapping_mul(4);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

/// The checksum of a cell that holds these entities, in the order of their ids.
pub fn cell_checksum<'a>(cell: u32, entities: impl IntoIterator<Item = &'a Entity>) -> u32 {
    let mut hasher = Hasher::new(cell);
    for entity in entities {
        hasher.word(entity.id);
        hasher.word(entity.kind);
        hasher.word(entity.position[0] as u32);
        hasher.word(entity.position[1] as u32);
        hasher.word(entity.velocity[0] as u32);
        hasher.word(entity.velocity[1] as u32);
        let levels = u32::from(entity.turn as u8) | u32::from(entity.thrust as u8) << 8;
        hasher.word(u32::from(entity.heading) | levels << 16);
        for attribute in entity.attributes {
            hasher.word(attribute as u32);
        }
        hasher.bytes(entity.payload.as_deref().unwrap_or_default());
    }
    hasher.finish()
}

/// What the applied hash covers of a move: all that decides what it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct MoveContent<'a> {
    /// Its number in the session.
    pub sequence: u32,
    /// Left to right.
    pub axis_x: i32,
    /// Back to forward.
    pub axis_y: i32,
    /// Heading to turn to.
    pub aim: Option<u32>,
    /// Pressed buttons.
    pub buttons: u32,
    /// The entity that it is about.
    pub target: Option<u32>,
    /// The game's own part.
    pub payload: &'a [u8],
}

/// The rolling hash over applied moves, with one more of them; it starts at 0.
#[must_use]
pub fn applied_hash(before: u32, applied: &MoveContent<'_>) -> u32 {
    let mut hasher = Hasher::new(before);
    hasher.word(applied.sequence);
    hasher.word(applied.axis_x as u32);
    hasher.word(applied.axis_y as u32);
    for optional in [applied.aim, applied.target] {
        hasher.word(u32::from(optional.is_some()));
        hasher.word(optional.unwrap_or_default());
    }
    hasher.word(applied.buttons);
    hasher.bytes(applied.payload);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_hash_as_murmur3_does() {
        // Reference values of MurmurHash3_x86_32 for inputs of whole words.
        let hash = |seed, words: &[u32]| {
            let mut hasher = Hasher::new(seed);
            for word in words {
                hasher.word(*word);
            }
            hasher.finish()
        };
        assert_eq!(hash(0, &[]), 0);
        assert_eq!(hash(1, &[]), 0x514e_28b7);
        assert_eq!(hash(0, &[u32::from_le_bytes(*b"test")]), 0xba6b_d213);
        assert_eq!(hash(0x9747_b28c, &[u32::from_le_bytes(*b"test")]), 0x704b_81dc);
        assert_eq!(hash(0, &[0xffff_ffff]), 0x7629_3b50);
    }
}
