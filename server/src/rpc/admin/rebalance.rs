//! Rooms that an operator gives to other servers.

use super::servers;
use crate::room::{Handle, RoomId};
use crate::session::directory::Sent;
use crate::session::{Error, Sessions};
use fray_proto::v1;
use std::time::Duration;

/// How long it may take.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
const ROOMS_DEFAULT: usize = 8;
const ROOMS_MAX: usize = 64;

/// One room after the other.
pub(super) async fn rebalance(
    sessions: &Sessions,
    request: &v1::RebalanceRequest,
) -> Result<v1::RebalanceResponse, Error> {
    let v1::RebalanceRequest { room_ids, server, rooms_max } = request;
    if room_ids.len() > ROOMS_MAX {
        return Err(Error::Invalid { field: "room_ids", problem: "more than 64" });
    }
    let rooms_max = match *rooms_max as usize {
        0 => ROOMS_DEFAULT,
        some @ 1..=ROOMS_MAX => some,
        _ => return Err(Error::Invalid { field: "rooms_max", problem: "more than 64" }),
    };
    if room_ids.is_empty() && !server.is_empty() {
        return Err(Error::Invalid { field: "server", problem: "only with rooms" });
    }
    let room = |id: &String| {
        let room = RoomId::parse(id).and_then(|id| sessions.rooms.get(&id));
        room.ok_or(Error::RoomNotFound)
    };
    let rooms: Vec<Handle> = room_ids.iter().map(room).collect::<Result<_, Error>>()?;
    let to = match server.as_str() {
        "" => None,
        server => Some(servers::find(&sessions.fleet, server)?.record),
    };
    let Some(mover) = sessions.mover() else {
        let stay = |room: Handle| Sent {
            room: room.info().id.clone(),
            players: room.info().players(),
            to: Err("this server is alone".to_owned()),
        };
        let rooms = rooms.into_iter().map(stay).map(row).collect();
        return Ok(v1::RebalanceResponse { rooms });
    };
    let sent = if rooms.is_empty() {
        mover.even_out(rooms_max).await
    } else {
        let mut sent = Vec::new();
        for room in rooms {
            sent.push(mover.send(room, to.clone()).await);
        }
        sent
    };
    Ok(v1::RebalanceResponse { rooms: sent.into_iter().map(row).collect() })
}

fn row(Sent { room, players, to }: Sent) -> v1::RebalancedRoom {
    let (server, reason) = match to {
        Ok(server) => (server, String::new()),
        Err(reason) => (String::new(), reason),
    };
    v1::RebalancedRoom { room_id: room.to_string(), players, server, reason }
}
