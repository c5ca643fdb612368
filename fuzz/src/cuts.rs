//! Bytes in pieces, as a network may bring them.

/// The first byte says into what pieces the rest is cut: 0 is one piece, 1 to 127 are pieces of so many bytes, and above that sizes
/// follow from the byte and change from piece to piece.
pub fn cut(input: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let Some((&how, all)) = input.split_first() else { return (Vec::new(), &[]) };
    let mut pieces = Vec::new();
    let mut rest = all;
    let mut size = usize::from(how);
    while !rest.is_empty() {
        if how > 127 {
            size = size * 181 % 251 % 97;
        }
        let (piece, next) =
            rest.split_at(if how == 0 { rest.len() } else { size.clamp(1, rest.len()) });
        pieces.push(piece);
        rest = next;
    }
    (pieces, all)
}

/// Parts of an input, each after its length in two bytes, big-endian; the last may be shorter than it says.
pub fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        input = rest;
        Some(part)
    })
}
