//! For fuzz targets only: what a stored message says of itself.

use super::message::Meta;
use async_nats::{HeaderMap, HeaderValue};

/// Whether headers are those of one of our messages. If so, what is written for it must be read as the same.
pub fn is_ours<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<async_nats::HeaderName>(), value.parse()) {
            map.insert::<_, HeaderValue>(name, value);
        }
    }
    let Some(meta) = Meta::parse(&map) else { return false };
    assert_eq!(Meta::parse(&meta.headers()), Some(meta));
    // Whoever reads on counts from there.
    assert!(meta.offset.checked_add(u64::from(u32::MAX)).is_some());
    true
}
