//! The servers of the fleet, as the directory has them.

use super::{NOT_FROM_THIS_LIST, ms, page_size};
use crate::session::Error;
use crate::session::directory::{Fleet, Held, InstanceId, ServerRecord};
use fray_proto::v1;

/// A page of them.
pub(super) fn page(
    fleet: &Fleet,
    request: &v1::ListServersRequest,
) -> Result<v1::ListServersResponse, Error> {
    let page_size = page_size(request.page_size)?;
    let mut servers = fleet.directory.servers();
    servers.sort_by(|a, b| a.record.instance.cmp(&b.record.instance));
    if !request.page_token.is_empty() {
        let last = InstanceId::parse(&request.page_token).ok_or(NOT_FROM_THIS_LIST)?;
        servers.retain(|held| held.record.instance > last);
    }
    let is_last = servers.len() <= page_size;
    servers.truncate(page_size);
    let next = servers.last().filter(|_| !is_last).map(|held| held.record.instance.to_string());
    Ok(v1::ListServersResponse {
        servers: servers.iter().map(|held| row(fleet, &held.record)).collect(),
        next_page_token: next.unwrap_or_default(),
        reaches_directory: fleet.directory.is_reachable(),
    })
}

fn row(fleet: &Fleet, server: &ServerRecord) -> v1::AdminServer {
    v1::AdminServer {
        instance_id: server.instance.to_string(),
        name: server.name.clone(),
        release: server.release.clone(),
        peer: server.peer.clone(),
        draining: server.is_draining,
        rooms: u32::try_from(server.players.len()).unwrap_or(u32::MAX),
        rooms_max: server.rooms_max,
        players: u32::try_from(server.players_total()).unwrap_or(u32::MAX),
        since_renewal_ms: fleet.directory.silence(&server.instance).map(ms).unwrap_or_default(),
        is_asked: server.instance == *fleet.directory.me(),
    }
}

/// Forgets one that is gone for good.
pub(super) async fn forget(fleet: &Fleet, server: &str) -> Result<v1::ForgetServerResponse, Error> {
    let held = find(fleet, server)?;
    let record = held.record.clone();
    fleet.peers.forget(held).await?;
    let rooms = fleet.directory.rooms().into_iter();
    let rooms =
        rooms.filter(|held| held.record.owner == record.instance && held.record.lost.is_none());
    Ok(v1::ForgetServerResponse {
        instance_id: record.instance.to_string(),
        name: record.name.clone(),
        rooms: u32::try_from(rooms.count()).unwrap_or(u32::MAX),
    })
}

/// The one of that instance, or else of that name.
pub(super) fn find(fleet: &Fleet, server: &str) -> Result<Held<ServerRecord>, Error> {
    if server.is_empty() {
        return Err(Error::Invalid { field: "server", problem: "missing" });
    }
    let instance = InstanceId::parse(server);
    if let Some(held) = instance.and_then(|instance| fleet.directory.server(&instance)) {
        return Ok(held);
    }
    let mut named = fleet.directory.servers();
    named.retain(|held| held.record.name == server);
    if named.len() > 1 {
        let problem = "several servers have this name: say the instance";
        return Err(Error::Invalid { field: "server", problem });
    }
    named.pop().ok_or(Error::ServerNotFound)
}
