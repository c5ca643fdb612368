//! How many of something each address has, so that none takes what is for all.

use http::HeaderMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of an IPv6 address so many bits are one customer's; the rest is his to choose.
const IPV6_PREFIX_BITS: u32 = 64;

/// Counts what addresses have. It keeps only those that have something, so it is as bounded as that is.
#[derive(Debug)]
pub struct Addresses {
    /// `None`: as many as they like.
    each_max: Option<u32>,
    counts: Mutex<HashMap<IpAddr, u32>>,
}

/// One of them; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None`: not counted.
    of: Option<(Arc<Addresses>, IpAddr)>,
}

impl Addresses {
    /// Each may have so many; 0: as many as they like.
    pub fn new(each_max: u32) -> Arc<Self> {
        let each_max = (each_max > 0).then_some(each_max);
        Arc::new(Self { each_max, counts: Mutex::default() })
    }

    /// Whether anything is counted at all.
    pub fn are_counted(&self) -> bool {
        self.each_max.is_some()
    }

    /// One more for this address; `None`: it has as many as it may have. An address that is not known has as many as it likes.
    pub fn place(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let Some((each_max, address)) = self.each_max.zip(address) else {
            return Some(Place { of: None });
        };
        let address = customer(address);
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= each_max {
            return None;
        }
        *count += 1;
        Some(Place { of: Some((Arc::clone(self), address)) })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Nothing panics while it has the lock.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.of else { return };
        if let Entry::Occupied(mut count) = addresses.counts().entry(*address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What stands for one customer: the address; of IPv6, its network.
fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The client's address as the outermost of `hops` trusted proxies saw it: each adds to the end of `x-forwarded-for`. What comes
/// before that, anybody may have written.
pub fn forwarded(headers: &HeaderMap, hops: u32) -> Option<IpAddr> {
    let before = usize::try_from(hops.checked_sub(1)?).ok()?;
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut added = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let address = std::str::from_utf8(added.nth(before)?).ok()?.trim();
    // Some write ports, too.
    let with_port = || Some(address.parse::<std::net::SocketAddr>().ok()?.ip());
    address.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_and_what_it_gives_back_it_may_have_again() {
        let addresses = Addresses::new(2);
        let first = addresses.place(Some(ip("192.0.2.1"))).expect("one");
        let second = addresses.place(Some(ip("192.0.2.1"))).expect("two");
        assert!(addresses.place(Some(ip("192.0.2.1"))).is_none());
        assert!(
            addresses.place(Some(ip("::ffff:192.0.2.1"))).is_none(),
            "the same, written otherwise"
        );
        let other = addresses.place(Some(ip("192.0.2.2"))).expect("another has its own");
        drop(first);
        let third = addresses.place(Some(ip("192.0.2.1"))).expect("one came free");
        drop((second, third, other));
        assert!(addresses.counts().is_empty(), "nothing is kept of who has nothing");
    }

    #[test]
    fn whoever_has_a_network_is_one() {
        let addresses = Addresses::new(1);
        let _one = addresses.place(Some(ip("2001:db8:0:1::1"))).expect("one");
        assert!(addresses.place(Some(ip("2001:db8:0:1:ffff::2"))).is_none());
        assert!(addresses.place(Some(ip("2001:db8:0:2::1"))).is_some());
    }

    #[test]
    fn who_is_not_known_or_where_nothing_is_counted_everybody_comes_in() {
        let addresses = Addresses::new(1);
        let _unknown =
            [addresses.place(None), addresses.place(None)].map(|place| place.expect("let in"));
        let none = Addresses::new(0);
        let places = [none.place(Some(ip("192.0.2.1"))), none.place(Some(ip("192.0.2.1")))];
        assert!(places.iter().all(Option::is_some) && !none.are_counted());
        assert!(none.counts().is_empty());
    }

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let mut headers = HeaderMap::new();
        assert_eq!(forwarded(&headers, 1), None);
        // The client claims one, the first proxy adds the client, the second the first proxy, in a line of its own.
        headers.append("x-forwarded-for", "10.0.0.1, 192.0.2.7".parse().expect("a header"));
        headers.append("x-forwarded-for", "198.51.100.1:443".parse().expect("a header"));
        assert_eq!(forwarded(&headers, 0), None);
        assert_eq!(forwarded(&headers, 1), Some(ip("198.51.100.1")));
        assert_eq!(forwarded(&headers, 2), Some(ip("192.0.2.7")));
        assert_eq!(forwarded(&headers, 4), None);
        headers.append("x-forwarded-for", "nobody".parse().expect("a header"));
        assert_eq!(forwarded(&headers, 1), None);
    }
}
