//! What servers say to each other over TLS.

use super::certificates::{Authority, Folder};
use super::servers::Fleet;
use super::{PATIENCE, create, joins, seat, until};
use fray_bot::client::{Controls, Options, Player};
use fray_server::tls::{self, Certificate, Connector};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Files of servers that trust each other, and flags that name them.
struct Files {
    folder: Folder,
    flags: Vec<String>,
}

impl Files {
    fn of(authority: &Authority, name: &str) -> Self {
        let folder = Folder::new();
        let [cert, key] = authority.signs(&[name]).write(&folder, "server");
        let ca = folder.write("ca.pem", &authority.pem());
        let files = [("--peer-tls-cert", cert), ("--peer-tls-key", key), ("--peer-tls-ca", ca)];
        let flags = files
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
        Self { flags: flags.collect(), folder }
    }

    async fn fleet(&self, count: usize) -> Fleet {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Fleet::of(count, &flags).await
    }

    fn connector(&self, shows: bool) -> Arc<Connector> {
        let path = |name| self.folder.path(name);
        let own = Certificate { chain: path("server.pem"), key: path("server.key") };
        let authority = tls::Authority(path("ca.pem"));
        Connector::open(&authority, shows.then_some(&own)).expect("sound files").0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_certificates_give_seats_and_carry_streams_among_themselves() {
    tls::install_provider();
    let files = Files::of(&Authority::new("Fleet"), "fray-server");
    let fleet = files.fleet(2).await;
    let made = seat(&fleet.servers[0], create("Far", false)).await;
    for server in &fleet.servers {
        let mut player =
            Player::join(server.grpc(), joins(&made), Options::default()).await.expect("a stream");
        player.steer(Controls { axis_x: 100, axis_y: 127, ..Controls::default() }).expect("open");
        until(&mut player, "the move", |player, _| player.session().unacknowledged() == 0).await;
    }
    let relayed: u64 = fleet.servers.iter().map(super::Running::relayed).sum();
    assert_eq!(relayed, 1);
    fleet.stop().await;
}

/// Whether whoever speaks TLS so is answered at all.
async fn is_heard(fleet: &Fleet, connector: &Connector, name: &str) -> bool {
    let stream = TcpStream::connect(fleet.servers[0].peers).await.expect("a port");
    let Ok(mut stream) = connector.connect(name, stream).await else { return false };
    // Whom the server does not like it may tell only after the client's half of the handshake.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let said = stream.write_all(preface).await.is_ok();
    let answer = timeout(PATIENCE, stream.read_u8()).await.expect("an answer or the end");
    said && answer.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_certificate_of_the_fleets_is_heard_by_its_servers() {
    tls::install_provider();
    let authority = Authority::new("Fleet");
    let files = Files::of(&authority, "fray-server");
    let fleet = files.fleet(1).await;
    assert!(is_heard(&fleet, &files.connector(true), "fray-server").await, "one of them");
    assert!(!is_heard(&fleet, &files.connector(false), "fray-server").await, "no certificate");
    assert!(!is_heard(&fleet, &files.connector(true), "elsewhere").await, "not whom it looks for");
    let stranger = Files::of(&Authority::new("Fleet"), "fray-server");
    // It trusts the fleet, and is nobody whom the fleet trusts.
    stranger.folder.write("ca.pem", &authority.pem());
    assert!(!is_heard(&fleet, &stranger.connector(true), "fray-server").await, "a stranger");
    let mut cleartext = TcpStream::connect(fleet.servers[0].peers).await.expect("a port");
    cleartext.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, cleartext.read_to_end(&mut answer)).await.expect("the end");
    // An alert at the most: no HTTP.
    assert!(read.is_err() || answer.first().is_none_or(|&first| first == 21), "{answer:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_name_is_taken_for_unreachable() {
    tls::install_provider();
    let files = Files::of(&Authority::new("Fleet"), "elsewhere");
    let fleet = files.fleet(2).await;
    let made = seat(&fleet.servers[0], create("Far", false)).await;
    let mut refusals = 0;
    for server in &fleet.servers {
        let seated = server.lobby().await.join(joins(&made)).await;
        refusals +=
            usize::from(seated.is_err_and(|status| status.code() == tonic::Code::Unavailable));
    }
    assert_eq!(refusals, 1, "all but the room's own server");
    fleet.stop().await;
}
