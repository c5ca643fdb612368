use super::super::keyring::new_pem;
use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};

fn room() -> RoomId {
    RoomId::parse("r1").expect("a room id")
}

fn ticket(keys: &Keys) -> String {
    let room = room();
    let draft =
        Draft { player_id: "p1", room: room.as_str(), route: "10.0.0.1:7777", version: "v1" };
    keys.sign(draft, Duration::from_secs(60)).expect("signed")
}

/// Keys of one file, and the file.
fn keys_and_pem(id: &str) -> (Keys, String) {
    let pem = new_pem().expect("a key");
    let key = TicketKey::from_pem(id, &pem).expect("it is sound");
    (Keys::new(Ring::of_one(key), JWKS_MAX_AGE), pem)
}

/// Sound claims, for tests to spoil.
fn claims() -> Value {
    let now = now_s().expect("a clock");
    json!({
        "iss": "fray", "aud": "play", "sub": "p1", "room": "r1", "route": "MTA=", "version": "v1",
        "iat": now, "exp": now + 60,
    })
}

fn spoilt(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

/// A token signed as its maker likes, with the fleet's own key.
fn forged(pem: &str, header: &Header, claims: &Value) -> String {
    let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let der = STANDARD.decode(der).expect("base64");
    jsonwebtoken::encode(header, claims, &EncodingKey::from_ec_der(&der)).expect("signed")
}

fn header(kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) }
}

/// A part of a token, put together by hand.
fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn refusal(keys: &Keys, ticket: &str) -> &'static str {
    match keys.verify(ticket) {
        Err(Error::TicketInvalid(why)) => why,
        other => panic!("a refusal is expected, not {other:?}"),
    }
}

#[test]
fn a_ticket_is_good_only_as_signed() {
    let (keys, _) = keys_and_pem("a");
    let ticket = ticket(&keys);
    assert_eq!(keys.verify(&ticket), Ok(("p1".into(), room())));
    let (foreign, _) = keys_and_pem("a");
    assert_eq!(refusal(&foreign, &ticket), "it was not issued here", "another key of that name");
    let parts: Vec<&str> = ticket.split('.').collect();
    let other_claims = part(&spoilt(|claims| claims["sub"] = json!("p2")));
    for tampered in [
        ticket.replacen('.', "A.", 1),
        format!("{ticket}A"),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{other_claims}.{}", parts[0], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        String::new(),
        "..".into(),
        "A".repeat(100_000),
    ] {
        assert_eq!(refusal(&keys, &tampered), "it was not issued here");
    }
}

#[test]
fn only_the_key_that_is_named_verifies_and_only_its_algorithm() {
    let (keys, pem) = keys_and_pem("a");
    keys.verify(&forged(&pem, &header(Some("a")), &claims()))
        .expect("what is forged here is sound");
    for kid in [None, Some("b"), Some("")] {
        assert_eq!(
            refusal(&keys, &forged(&pem, &header(kid), &claims())),
            "it was not issued here"
        );
    }
    let critical = Header { crit: Some(vec!["exp".into()]), ..header(Some("a")) };
    refusal(&keys, &forged(&pem, &critical, &claims()));

    // No signature at all.
    for alg in ["none", "None", "NONE", ""] {
        let parts = (part(&json!({"alg": alg, "kid": "a", "typ": "JWT"})), part(&claims()));
        refusal(&keys, &format!("{}.{}.", parts.0, parts.1));
    }
    // Signed with what everybody knows: the public key taken for a shared secret, in all forms that it has.
    let jwks = serde_json::to_string(&keys.ring().jwks()).expect("JSON");
    let set: Value = serde_json::from_str(&jwks).expect("JSON");
    let half = |name: &str| {
        let text = set["keys"][0][name].as_str().expect("a coordinate");
        URL_SAFE_NO_PAD.decode(text).expect("base64")
    };
    let point = [vec![4], half("x"), half("y")].concat();
    for secret in [point.as_slice(), jwks.as_bytes(), set["keys"][0].to_string().as_bytes()] {
        let hmac = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
        let signed = jsonwebtoken::encode(&hmac, &claims(), &EncodingKey::from_secret(secret));
        refusal(&keys, &signed.expect("signed"));
    }
}

#[test]
fn what_a_ticket_says_must_fit() {
    let (keys, pem) = keys_and_pem("a");
    let said = |claims: &Value| forged(&pem, &header(Some("a")), claims);
    let now = now_s().expect("a clock");
    let expired = spoilt(|claims| claims["exp"] = json!(now - LEEWAY_S - 2));
    assert_eq!(refusal(&keys, &said(&expired)), "it has expired");
    let just = spoilt(|claims| claims["exp"] = json!(now - 1));
    keys.verify(&said(&just)).expect("clocks may differ by a little");
    for (name, value) in [
        ("iss", json!("frey")),
        ("aud", json!("peer")),
        ("aud", json!([])),
        ("exp", json!("never")),
        ("sub", json!(7)),
        ("room", json!("NO ROOM")),
    ] {
        refusal(&keys, &said(&spoilt(|claims| claims[name] = value)));
    }
    for name in ["iss", "aud", "exp", "sub", "room"] {
        let without = spoilt(|claims| drop(claims.as_object_mut().expect("a map").remove(name)));
        refusal(&keys, &said(&without));
    }
}

#[test]
fn servers_know_each_other_by_tokens_that_no_player_has() {
    let (keys, pem) = keys_and_pem("a");
    let instance = InstanceId::random();
    let token = keys.sign_peer(&instance, "10.0.0.2:7782").expect("signed");
    assert_eq!(keys.verify_peer(&token, "10.0.0.2:7782"), Ok(instance));
    // Whoever it was shown to cannot use it elsewhere.
    for elsewhere in ["10.0.0.3:7782", "10.0.0.2:7783", ""] {
        assert_eq!(keys.verify_peer(&token, elsewhere), Err(Error::PeerTokenInvalid));
    }
    refusal(&keys, &token);
    assert_eq!(keys.verify_peer(&ticket(&keys), ""), Err(Error::PeerTokenInvalid));
    let (foreign, _) = keys_and_pem("a");
    assert_eq!(foreign.verify_peer(&token, "10.0.0.2:7782"), Err(Error::PeerTokenInvalid));
    let no_instance = spoilt(|claims| {
        claims["aud"] = json!("peer");
        claims["to"] = json!("10.0.0.2:7782");
    });
    let no_instance = forged(&pem, &header(Some("a")), &no_instance);
    assert_eq!(keys.verify_peer(&no_instance, "10.0.0.2:7782"), Err(Error::PeerTokenInvalid));
}

#[test]
fn whoever_has_the_public_keys_can_verify_and_read_a_ticket() {
    let (keys, _) = keys_and_pem("2026-01");
    let ticket = ticket(&keys);
    let jwks = serde_json::to_value(keys.ring().jwks()).expect("JSON");
    let shape: Vec<&str> =
        jwks["keys"][0].as_object().expect("a map").keys().map(String::as_str).collect();
    assert_eq!(shape, ["alg", "crv", "kid", "kty", "use", "x", "y"], "and nothing secret");
    let of = |name: &str| jwks["keys"][0][name].as_str().expect("text").to_owned();
    let known = ["alg", "crv", "kid", "kty", "use"].map(of);
    assert_eq!(known, ["ES256", "P-256", "2026-01", "EC", "sig"]);

    let set: JwkSet = serde_json::from_value(jwks).expect("a JWKS");
    let kid = jsonwebtoken::decode_header(&ticket).expect("a header").kid.expect("a key id");
    let key = DecodingKey::from_jwk(set.find(&kid).expect("it is there")).expect("a key");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["play"]);
    let said = jsonwebtoken::decode::<Claims>(&ticket, &key, &validation).expect("verified").claims;
    assert_eq!((said.sub.as_str(), said.room.as_str()), ("p1", "r1"));
    assert_eq!(STANDARD.decode(said.route).expect("base64"), b"10.0.0.1:7777");
    assert_eq!((said.version.as_str(), said.exp - said.iat), ("v1", 60));
}
