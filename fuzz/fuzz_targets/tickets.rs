//! Tickets, and the tokens by which servers know each other: nothing opens a door but what was signed for that door, with a key
//! that is in use, and is not over. Not what was signed and then changed, not what others signed, not one for the other.
//!
//! The first byte says how a token is made of the rest: a good one with edits; an own head and own claims under somebody else's
//! signature, another token's, or none; any text. Or it is really signed by us with claims that we would not write: that may
//! be accepted only where all that is asked of it holds.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fray_fuzz::cuts::parts;
use fray_fuzz::signing::{Key, edited, now_s, signed_part};
use fray_server::session::directory::InstanceId;
use fray_server::session::keyring::Ring;
use fray_server::session::ticket::{Draft, Keys};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Where this server is reached by others.
const ME: &str = "10.0.0.1:7779";

struct World {
    keys: Keys,
    ours: Key,
    removed: Key,
    /// A ticket, and a token of another server.
    ticket: String,
    peer: String,
    /// Signed once for something, and good for nothing here.
    others: Vec<String>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (ours, removed) = (Key::of(7), Key::of(9));
    // Two keys are in use: what names one must not be good by the other.
    let ring = Ring::new(
        [(&ours, "a"), (&Key::of(11), "b")]
            .map(|(key, id)| (Arc::new(key.ticket_key(id)), Duration::ZERO)),
        Duration::from_secs(1),
    );
    let keys = Keys::new(ring.expect("two keys"), Duration::from_secs(60));
    let old = Keys::new(removed.ring("b"), Duration::from_secs(60));
    let foreign = Keys::new(removed.ring("a"), Duration::from_secs(60));
    let draft = Draft { player_id: "p-1", room: "abc123", route: "10.0.0.1:7777", version: "1.0" };
    let nowhere = Draft { room: "NO ROOM", ..draft };
    // However long a run is.
    let days = Duration::from_secs(30 * 86_400);
    let instance = InstanceId::parse("00000000000000aa").expect("an id");
    let until = now_s() + days.as_secs();
    let head = br#"{"typ":"JWT","alg":"ES256","kid":"a"}"#;
    let peer = format!(
        r#"{{"iss":"fray","aud":"peer","sub":"{instance}","to":"{ME}","iat":1,"exp":{until}}}"#
    );
    let over = format!(
        r#"{{"iss":"fray","aud":"play","sub":"p-1","room":"abc123","route":"","version":"","iat":1,"exp":{}}}"#,
        now_s() - 600
    );
    let sign = |keys: &Keys, draft| keys.sign(draft, days).expect("signed");
    let others = vec![
        sign(&old, draft),
        sign(&foreign, draft),
        sign(&keys, nowhere),
        ours.sign(head, over.as_bytes()),
        ours.sign(br#"{"typ":"JWT","alg":"ES256"}"#, b"{}"),
        keys.sign_peer(&instance, "10.0.0.2:7779").expect("signed"),
    ];
    World {
        ticket: sign(&keys, draft),
        peer: ours.sign(head, peer.as_bytes()),
        keys,
        ours,
        removed,
        others,
    }
});

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let world = &*WORLD;
    let all = || [&world.ticket, &world.peer].into_iter().chain(&world.others);
    let nth = usize::from(how / 8) % (2 + world.others.len());
    let one = all().nth(nth).expect("one of them");
    match how % 8 {
        // As they are, and edited.
        0 | 1 => judge(&edited(one, rest)),
        // The same, decoded: edits that an edit of base64 would not make.
        2 => {
            let mut sections = one.split('.');
            let mut section = |edits: &[u8]| {
                let bytes =
                    URL_SAFE_NO_PAD.decode(sections.next().unwrap_or_default()).unwrap_or_default();
                // Every byte is a character here, so that none is lost.
                let text: String = bytes.into_iter().map(char::from).collect();
                let bytes: Vec<u8> = edited(&text, edits).chars().map(|c| c as u8).collect();
                URL_SAFE_NO_PAD.encode(bytes)
            };
            let mut edits = parts(rest);
            let mut next = || section(edits.next().unwrap_or_default());
            judge(&[next(), next(), next()].join("."));
        }
        // Any head and claims, with a signature that is good for another.
        3 | 4 => {
            let mut given = parts(rest);
            let [head, claims] =
                [(); 2].map(|()| URL_SAFE_NO_PAD.encode(given.next().unwrap_or_default()));
            let signature =
                if how % 8 == 3 { one.rsplit_once('.').map_or("", |(_, last)| last) } else { "" };
            judge(&format!("{head}.{claims}.{signature}"));
        }
        // The same, signed by whom we do not trust any more.
        5 => {
            let mut given = parts(rest);
            let mut next = || given.next().unwrap_or_default();
            judge(&world.removed.sign(next(), next()));
        }
        // Signed by us, whatever it says.
        6 => own(HEADS[usize::from(how / 8) % HEADS.len()], rest),
        _ => judge(&String::from_utf8_lossy(rest)),
    }
});

/// Nobody but us has signed it, or it is as we signed it.
fn judge(token: &str) {
    let world = &*WORLD;
    match world.keys.verify(token) {
        Err(_) => assert_ne!(token, world.ticket, "a good ticket is refused"),
        Ok((player, room)) => {
            assert_eq!(signed_part(token), signed_part(&world.ticket), "{token}");
            assert_eq!((player.as_str(), room.as_str()), ("p-1", "abc123"));
        }
    }
    match world.keys.verify_peer(token, ME) {
        Err(_) => assert_ne!(token, world.peer, "a good token is refused"),
        Ok(server) => {
            assert_eq!(signed_part(token), signed_part(&world.peer), "{token}");
            assert_eq!(server.as_str(), "00000000000000aa");
        }
    }
}

/// The first is the one that tokens of ours have, and the only one under which they are good.
const HEADS: [&str; 10] = [
    r#"{"typ":"JWT","alg":"ES256","kid":"a"}"#,
    r#"{"typ":"JWT","alg":"ES256"}"#,
    r#"{"typ":"JWT","alg":"ES256","kid":""}"#,
    r#"{"typ":"JWT","alg":"ES256","kid":"b"}"#,
    r#"{"typ":"JWT","alg":"ES256","kid":"c"}"#,
    r#"{"typ":"JWT","alg":"ES384","kid":"a"}"#,
    r#"{"typ":"JWT","alg":"HS256","kid":"a"}"#,
    r#"{"typ":"JWT","alg":"none","kid":"a"}"#,
    r#"{"typ":"JWT","alg":"ES256","kid":"a","crit":["x"],"x":1}"#,
    r#"{"typ":"JWT","alg":"ES256","kid":"a","kid":"b"}"#,
];

/// Signed by us, but with any claims: accepted only if they, and the head, say all that they must.
fn own(head: &str, claims: &[u8]) {
    let world = &*WORLD;
    let token = world.ours.sign(head.as_bytes(), claims);
    let ticket = world.keys.verify(&token);
    let peer = world.keys.verify_peer(&token, ME);
    if ticket.is_err() && peer.is_err() {
        return;
    }
    assert_eq!(head, HEADS[0], "signed, but not under a head of ours");
    let said: serde_json::Value = serde_json::from_slice(claims).expect("what was understood");
    assert_eq!(said["iss"], "fray");
    assert!(said["exp"].as_f64().is_some_and(|exp| exp + 10.0 > now_s() as f64), "{said}");
    if let Ok((player, room)) = ticket {
        assert!(said["aud"] == "play" && said["room"] == room.as_str() && said["sub"] == player);
    }
    if let Ok(server) = peer {
        assert!(said["aud"] == "peer" && said["to"] == ME && said["sub"] == server.as_str());
    }
}
