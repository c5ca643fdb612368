//! What others say of players: ID tokens, the providers' keys that they are signed with, and resume tokens; and keys in files.
//!
//! Whatever a key file or a key set holds: keys, or a reason. An ID token that the provider did not sign, or not for us, is nobody's.
//! A resume token is read in one way only: no other text has the same secret.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fray_fuzz::cuts::parts;
use fray_fuzz::heap::{Counting, most_during};
use fray_fuzz::signing::{Key, edited, now_s, signed_part};
use fray_server::room::RoomId;
use fray_server::session::identity::{Policy, Provider, ProviderKeys};
use fray_server::session::keyring::TicketKey;
use fray_server::session::token::{ResumeToken, TokenKey};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

#[global_allocator]
static HEAP: Counting = Counting;

const ISSUER: &str = "https://id.example.com";
/// Beside what grows with the input.
const OVERHEAD_BYTES: usize = 64 * 1024;

struct World {
    runtime: Runtime,
    policy: Policy,
    theirs: Key,
    id_token: String,
    /// Signed for somebody else, or over.
    others: Vec<String>,
    resume: ResumeToken,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let theirs = Key::of(7);
    let jwks = serde_json::to_vec(&theirs.ring("k").jwks()).expect("JSON");
    let head = br#"{"typ":"JWT","alg":"ES256","kid":"k"}"#;
    let claims = |aud: &str, exp: u64| {
        format!(r#"{{"iss":"{ISSUER}","aud":"{aud}","sub":"ada","exp":{exp}}}"#)
    };
    let (soon, over) = (now_s() + 30 * 86_400, now_s() - 600);
    let key = TokenKey::shared(&[7; 32]).expect("a key");
    World {
        runtime: Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime"),
        policy: policy(ProviderKeys::parse(&jwks).expect("keys")),
        id_token: theirs.sign(head, claims("fray", soon).as_bytes()),
        others: vec![
            theirs.sign(head, claims("fray", over).as_bytes()),
            theirs.sign(head, claims("else", soon).as_bytes()),
            Key::of(9).sign(head, claims("fray", soon).as_bytes()),
        ],
        theirs,
        resume: ResumeToken::of(&key, RoomId::parse("abc123").expect("an id"), 3, "p-1"),
    }
});

fn policy(keys: ProviderKeys) -> Policy {
    let (_, keys) = watch::channel(Some(Arc::new(keys)));
    Policy {
        provider: Some(Provider::new(ISSUER.into(), "fray".into(), keys, None)),
        is_required: true,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let world = &*WORLD;
    match how % 8 {
        0 | 1 => {
            let nth = usize::from(how / 8) % (1 + world.others.len());
            let one = std::iter::once(&world.id_token).chain(&world.others).nth(nth);
            judge(&edited(one.expect("one of them"), rest));
        }
        // Any head and claims under a signature that is good for another, or really theirs.
        2 => {
            let mut given = parts(rest);
            let [head, claims] =
                [(); 2].map(|()| URL_SAFE_NO_PAD.encode(given.next().unwrap_or_default()));
            let signature = world.id_token.rsplit_once('.').map_or("", |(_, last)| last);
            judge(&format!("{head}.{claims}.{signature}"));
        }
        3 => {
            let token = world.theirs.sign(br#"{"typ":"JWT","alg":"ES256","kid":"k"}"#, rest);
            if who(&world.policy, &token).is_some() {
                let said: serde_json::Value =
                    serde_json::from_slice(rest).expect("what was understood");
                let aud = &said["aud"];
                // It may be for several.
                let is_for_us = aud == "fray"
                    || aud.as_array().is_some_and(|all| all.iter().any(|one| one == "fray"));
                assert!(said["iss"] == ISSUER && is_for_us, "{said}");
                assert!(
                    said["exp"].as_f64().is_some_and(|exp| exp + 70.0 > now_s() as f64),
                    "{said}"
                );
                let not_before = said["nbf"].as_f64();
                assert!(not_before.is_none_or(|nbf| nbf < now_s() as f64 + 70.0), "{said}");
                assert!(
                    said["sub"].as_str().is_some_and(|sub| !sub.is_empty() && sub.len() <= 255),
                    "{said}"
                );
            }
        }
        4 => key_set(rest),
        5 => {
            let text = edited(&world.resume.reveal(), rest);
            resume(&text);
        }
        6 => resume(&String::from_utf8_lossy(rest)),
        _ => {
            let mut given = parts(rest);
            let mut next = || String::from_utf8_lossy(given.next().unwrap_or_default());
            if let Ok(key) = TicketKey::from_pem(&next(), &next()) {
                assert!(!key.id().is_empty() && key.id().len() <= 64);
            }
        }
    }
});

fn who(policy: &Policy, token: &str) -> Option<String> {
    let who = WORLD.runtime.block_on(policy.who(Some(token)));
    who.ok().map(|who| who.expect("whoever shows a token is no guest"))
}

/// As the provider signed it, or nobody's.
fn judge(token: &str) {
    let good = &WORLD.id_token;
    match who(&WORLD.policy, token) {
        None => assert_ne!(token, good, "a good token is refused"),
        Some(player) => {
            assert_eq!(signed_part(token), signed_part(good), "{token}");
            assert!(player.starts_with("id-") && player.len() == 35);
        }
    }
}

/// Keys of any kind may be in it, and what they verify is still an answer. A kid of `k` finds one.
fn key_set(json: &[u8]) {
    let (keys, bytes) = most_during(|| ProviderKeys::parse(json));
    assert!(bytes <= 200 * json.len() + OVERHEAD_BYTES, "{bytes} bytes for {}", json.len());
    let Ok(keys) = keys else { return };
    let policy = policy(keys);
    let claims = URL_SAFE_NO_PAD.encode(format!(
        r#"{{"iss":"{ISSUER}","aud":"fray","sub":"ada","exp":{}}}"#,
        now_s() + 600
    ));
    for (algorithm, bytes) in [("ES256", 64), ("RS256", 256), ("RS256", 1)] {
        let head = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"k"}}"#));
        let signature = URL_SAFE_NO_PAD.encode(vec![1; bytes]);
        let _ = who(&policy, &format!("{head}.{claims}.{signature}"));
    }
}

fn resume(text: &str) {
    let Some(read) = ResumeToken::parse(text) else {
        assert_ne!(text, WORLD.resume.reveal());
        return;
    };
    assert_eq!(ResumeToken::parse(&read.reveal()).as_ref(), Some(&read));
    let secret = |text: &str| text.rsplit_once('.').map(|(_, secret)| secret.to_owned());
    assert_eq!(secret(text), secret(&read.reveal()), "two texts, one secret");
    let is_ours = read.hash() == WORLD.resume.hash();
    assert_eq!(is_ours, secret(text) == secret(&WORLD.resume.reveal()));
}
