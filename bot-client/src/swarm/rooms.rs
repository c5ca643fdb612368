//! How players are spread over rooms.

use crate::client::Ended;
use crate::client::transport::Server;
use fray_proto::v1::{self, join_request};
use tokio::sync::Mutex;
use tonic::Code;

/// The rooms of a run: made by whoever comes first, then joined by id.
#[derive(Debug)]
pub(super) struct Rooms {
    name: String,
    ids: Vec<Mutex<Option<String>>>,
}

impl Rooms {
    /// That many rooms, none of them made yet; 0 leaves it to the server.
    pub(super) fn new(name: String, count: usize) -> Self {
        Self { name, ids: (0..count).map(|_| Mutex::default()).collect() }
    }

    /// What a player asks the lobby for.
    ///
    /// The first one of a room makes it with a call of its own, under the lock: the others must wait for its id anyway.
    pub(super) async fn request(
        &self,
        index: usize,
        server: &dyn Server,
        request: v1::JoinRequest,
    ) -> Result<v1::JoinRequest, Ended> {
        if self.ids.is_empty() {
            return Ok(request);
        }
        let number = index % self.ids.len();
        let mut id = self.ids[number].lock().await;
        if let Some(id) = id.clone() {
            return Ok(v1::JoinRequest { room: Some(join_request::Room::RoomId(id)), ..request });
        }
        let name = format!("{} {}", self.name, number + 1);
        let create = v1::CreateRoom { name, ..v1::CreateRoom::default() };
        let create = join_request::Room::Create(create);
        let request = v1::JoinRequest { room: Some(create), ..request };
        // The same request again, with the same id, is the same seat: the player repeats it.
        let seat = server.join(request.clone()).await?;
        *id = seat.room.map(|room| room.room_id);
        Ok(request)
    }

    /// A room that a player was sent to is not there any more.
    pub(super) async fn forget(&self, index: usize, ended: &Ended) {
        if ended.code == Code::NotFound && !self.ids.is_empty() {
            *self.ids[index % self.ids.len()].lock().await = None;
        }
    }
}
