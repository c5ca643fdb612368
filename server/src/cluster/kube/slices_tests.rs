//! Slices that say the same in every order and every division; and those that contradict each other.

use super::slices::{Change, SLICES_MAX, Slice, Slices};
use crate::cluster::endpoints::Endpoint;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;

fn at(last_byte: u8) -> IpAddr {
    [10, 0, 0, last_byte].into()
}

fn ready(pod: &str) -> Endpoint {
    Endpoint { pod: pod.into(), is_ready: true, is_serving: true, ..Endpoint::default() }
}

fn ending(pod: &str) -> Endpoint {
    Endpoint { is_terminating: true, ..ready(pod) }
}

fn slice(name: &str, endpoints: &[(u8, Endpoint)]) -> Slice {
    let endpoints = endpoints.iter().map(|(byte, endpoint)| (at(*byte), endpoint.clone()));
    Slice { name: name.into(), endpoints: endpoints.collect() }
}

fn merged(slices: impl IntoIterator<Item = Slice>) -> BTreeMap<IpAddr, Endpoint> {
    let mut all = Slices::default();
    for slice in slices {
        all.take(Change::Set(slice));
    }
    all.merged()
}

#[test]
fn what_is_known_holds_until_a_list_is_complete() {
    let mut slices = Slices::default();
    assert!(slices.take(Change::Set(slice("a", &[(1, ready("one"))]))));
    assert!(!slices.take(Change::ListBegan));
    assert!(!slices.take(Change::Listed(slice("b", &[(2, ready("two"))]))));
    assert_eq!(slices.merged().keys().collect::<Vec<_>>(), [&at(1)], "as before");
    assert!(slices.take(Change::ListEnded));
    assert_eq!(slices.merged().keys().collect::<Vec<_>>(), [&at(2)], "the other is gone");
    assert!(slices.take(Change::Gone("b".into())));
    assert!(slices.merged().is_empty());
}

#[test]
fn a_list_that_broke_off_leaves_nothing_behind() {
    let mut slices = Slices::default();
    slices.take(Change::ListBegan);
    slices.take(Change::Listed(slice("a", &[(1, ready("one"))])));
    slices.take(Change::ListBegan);
    slices.take(Change::ListEnded);
    assert!(slices.merged().is_empty());
}

#[test]
fn a_pod_that_ends_by_one_slice_ends_though_another_is_old() {
    let both = merged([slice("a", &[(1, ready("one"))]), slice("b", &[(1, ending("one"))])]);
    assert!(both[&at(1)].is_terminating);
}

#[test]
fn an_address_belongs_to_the_pod_that_does_not_end() {
    for names in [["one", "two"], ["two", "one"]] {
        let both = [slice("a", &[(1, ending(names[0]))]), slice("b", &[(1, ready(names[1]))])];
        let found = &merged(both)[&at(1)];
        assert_eq!((found.pod.as_str(), found.is_terminating), (names[1], false));
    }
}

#[test]
fn there_are_no_more_slices_than_have_a_place() {
    let mut slices = Slices::default();
    for n in 0..SLICES_MAX + 2 {
        slices.take(Change::Set(slice(&n.to_string(), &[(1, ready("one"))])));
    }
    assert_eq!(slices.left_out(), 2);
    slices.take(Change::Set(slice("0", &[(2, ready("two"))])));
    assert_eq!(slices.left_out(), 2, "one that is known may change");
    assert_eq!(slices.merged().len(), 2);
}

#[test]
fn what_a_slice_does_not_say_is_as_the_api_has_it() {
    let json = serde_json::json!({
        "metadata": {"name": "fray-servers-x"},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "zone": "a", "targetRef": {"kind": "Pod", "name": "fray-0", "uid": "uid-0"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true, "serving": false, "terminating": true}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            {"addresses": ["fray.example.com"]},
            {"addresses": []},
        ],
    });
    let read: EndpointSlice = serde_json::from_value(json).expect("a slice");
    let slice = Slice::from(read);
    let said = |pod: &str, zone: &str, flags: [bool; 3]| Endpoint {
        pod: pod.into(),
        uid: pod.replace("fray", "uid"),
        zone: zone.into(),
        is_ready: flags[0],
        is_serving: flags[1],
        is_terminating: flags[2],
    };
    let wanted = vec![
        (at(1), said("fray-0", "a", [true, true, false])),
        (at(2), said("", "", [true, false, true])),
        (at(3), said("", "", [false, false, false])),
    ];
    assert_eq!(slice, Slice { name: "fray-servers-x".into(), endpoints: wanted });
}

prop_compose! {
    fn endpoints()(
        said in prop::collection::vec((0..4_u8, 0..3_u8, any::<[bool; 3]>(), 0..2_u8), 0..24),
    ) -> Vec<(u8, Endpoint)> {
        let endpoint = |(address, pod, flags, zone): (u8, u8, [bool; 3], u8)| {
            let (pod, uid) = (format!("pod-{pod}"), format!("uid-{}", pod % 2));
            let zone = ["", "z"][usize::from(zone)].to_owned();
            let [is_ready, is_serving, is_terminating] = flags;
            (address, Endpoint { pod, uid, zone, is_ready, is_serving, is_terminating })
        };
        said.into_iter().map(endpoint).collect()
    }
}

proptest! {
    #[test]
    fn neither_the_order_nor_the_division_into_slices_matters(
        said in endpoints(),
        places in prop::collection::vec(0..5_usize, 24),
        is_reversed: bool,
    ) {
        let whole = merged([slice("whole", &said)]);
        let mut parts: Vec<Vec<(u8, Endpoint)>> = vec![Vec::new(); 5];
        for (endpoint, place) in said.iter().zip(&places) {
            parts[*place].push(endpoint.clone());
        }
        let mut parts: Vec<_> =
            parts.iter().enumerate().map(|(n, part)| slice(&n.to_string(), part)).collect();
        if is_reversed {
            parts.reverse();
        }
        prop_assert_eq!(merged(parts), whole);
    }

    #[test]
    fn nobody_is_lost_and_nobody_invented(said in endpoints()) {
        let found = merged([slice("a", &said)]);
        let wanted: std::collections::BTreeSet<_> = said.iter().map(|(byte, _)| at(*byte)).collect();
        prop_assert_eq!(found.keys().copied().collect::<std::collections::BTreeSet<_>>(), wanted);
        for (address, endpoint) in &found {
            prop_assert!(said.iter().any(|(byte, said)| at(*byte) == *address && said.pod == endpoint.pod));
        }
    }
}
