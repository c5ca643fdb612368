//! What a Service's EndpointSlices say together. Pure.
//!
//! A Service has several slices; an endpoint that moves from one to another may be in both for a while, or in an old one
//! still as it was. So all that is said of a pod is taken together: it is ready if any slice says so, and ends if any does,
//! for that is never taken back. Of two pods at one address the one that does not end counts: the other has left it.

use crate::cluster::endpoints::Endpoint;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The most slices of a Service that are kept: with the usual 100 endpoints in each, far more servers than a fleet has.
pub const SLICES_MAX: usize = 256;
/// The most endpoints of a slice: the API allows no more.
pub const ENDPOINTS_PER_SLICE_MAX: usize = 1000;

/// A slice: its name, and who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Addresses and what it says of them.
    pub endpoints: Vec<(IpAddr, Endpoint)>,
}

impl From<EndpointSlice> for Slice {
    /// What cannot be an address of ours (a domain name) is left out.
    fn from(slice: EndpointSlice) -> Self {
        let endpoints = slice.endpoints.into_iter().take(ENDPOINTS_PER_SLICE_MAX);
        let endpoints = endpoints.filter_map(|endpoint| {
            // Others than the first mean nothing.
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            let conditions = endpoint.conditions.unwrap_or_default();
            let is_ready = conditions.ready.unwrap_or(true);
            let pod = endpoint.target_ref.unwrap_or_default();
            let said = Endpoint {
                pod: pod.name.unwrap_or_default(),
                uid: pod.uid.unwrap_or_default(),
                zone: endpoint.zone.unwrap_or_default(),
                is_ready,
                is_serving: conditions.serving.unwrap_or(is_ready),
                is_terminating: conditions.terminating.unwrap_or(false),
            };
            Some((address.to_canonical(), said))
        });
        let endpoints = endpoints.collect();
        Self { name: slice.metadata.name.unwrap_or_default(), endpoints }
    }
}

/// A change to a Service's slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They will all be listed: what is known holds until they are.
    ListBegan,
    /// One of the list.
    Listed(Slice),
    /// The list is complete: what was not in it is gone.
    ListEnded,
    /// One is new or has changed.
    Set(Slice),
    /// One is gone.
    Gone(String),
}

/// A Service's slices.
#[derive(Debug, Default)]
pub struct Slices {
    known: BTreeMap<String, Slice>,
    listed: Option<BTreeMap<String, Slice>>,
    /// How many slices had no place.
    left_out: u64,
}

impl Slices {
    /// Takes a change. Whether what is known now is complete: no list is under way.
    pub fn take(&mut self, change: Change) -> bool {
        match change {
            Change::ListBegan => self.listed = Some(BTreeMap::new()),
            Change::Listed(slice) => {
                let listed = self.listed.get_or_insert_default();
                self.left_out += u64::from(!put(listed, slice));
            }
            Change::ListEnded => {
                if let Some(listed) = self.listed.take() {
                    self.known = listed;
                }
            }
            Change::Set(slice) => self.left_out += u64::from(!put(&mut self.known, slice)),
            Change::Gone(name) => drop(self.known.remove(&name)),
        }
        self.listed.is_none()
    }

    /// How many slices had no place, since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// All endpoints, by their address.
    pub fn merged(&self) -> BTreeMap<IpAddr, Endpoint> {
        let mut pods: BTreeMap<IpAddr, BTreeMap<(&str, &str), Endpoint>> = BTreeMap::new();
        for (address, said) in self.known.values().flat_map(|slice| &slice.endpoints) {
            let pods = pods.entry(*address).or_default();
            let pod = pods.entry((&said.pod, &said.uid)).or_insert_with(|| said.clone());
            pod.is_ready |= said.is_ready;
            pod.is_serving |= said.is_serving;
            pod.is_terminating |= said.is_terminating;
            if pod.zone < said.zone {
                pod.zone.clone_from(&said.zone);
            }
        }
        let chosen = pods.into_iter().filter_map(|(address, pods)| {
            // The first in the order of names, where it does not matter.
            let pod = pods.into_values().min_by_key(|pod| pod.is_terminating)?;
            Some((address, pod))
        });
        chosen.collect()
    }
}

/// Whether there was a place for it.
fn put(slices: &mut BTreeMap<String, Slice>, slice: Slice) -> bool {
    let has_place = slices.len() < SLICES_MAX || slices.contains_key(&slice.name);
    if has_place {
        slices.insert(slice.name.clone(), slice);
    }
    has_place
}
