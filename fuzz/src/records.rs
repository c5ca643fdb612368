//! Recordings' records with checksums that are right: a fuzzer would not find them, a hostile writer computes them.

/// Makes every record whole, wherever its length leads. The layout is in docs/RECORDINGS.md.
pub fn mend_checksums(bytes: &mut [u8]) {
    const HEAD_BYTES: usize = 6;
    const CHECKSUM_BYTES: usize = 4;
    let mut rest = bytes;
    while let Some(most) = rest.len().checked_sub(HEAD_BYTES + CHECKSUM_BYTES) {
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], 0]) as usize;
        let length = length.min(most);
        rest[..3].copy_from_slice(&(length as u32).to_le_bytes()[..3]);
        let check = crc32fast::hash(&rest[..4]) as u16;
        rest[4..HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
        let end = HEAD_BYTES + length;
        let checksum = crc32fast::hash(&rest[..end]);
        rest[end..end + CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        rest = &mut rest[end + CHECKSUM_BYTES..];
    }
}

/// A whole record of this kind.
pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(kind);
    bytes.extend([0; 2]);
    bytes.extend(payload);
    bytes.extend([0; 4]);
    mend_checksums(&mut bytes);
    bytes
}
