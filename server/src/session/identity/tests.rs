use super::super::keyring::{TicketKey, new_pem};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "fray";

/// An identity provider with one key, as tests want it.
struct Idp {
    id: &'static str,
    key: EncodingKey,
    jwk: Value,
}

impl Idp {
    fn new(id: &'static str) -> Self {
        let pem = new_pem().expect("a key");
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = EncodingKey::from_ec_der(&STANDARD.decode(der).expect("base64"));
        let ring =
            super::super::keyring::Ring::of_one(TicketKey::from_pem(id, &pem).expect("a key"));
        let jwk = serde_json::to_value(&ring.jwks().keys[0]).expect("JSON");
        Self { id, key, jwk }
    }

    fn keys(&self) -> Arc<ProviderKeys> {
        let set = json!({"keys": [self.jwk]}).to_string();
        Arc::new(ProviderKeys::parse(set.as_bytes()).expect("keys"))
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("signed")
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada@example.com", "exp": now_s() + 300})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

type Keys = Option<Arc<ProviderKeys>>;

fn policy(keys: Keys) -> (Policy, watch::Sender<Keys>, Arc<Notify>) {
    let (sender, keys) = watch::channel(keys);
    let wanted = Arc::new(Notify::new());
    let provider = Provider::new(ISSUER.into(), AUDIENCE.into(), keys, Some(Arc::clone(&wanted)));
    (Policy { provider: Some(provider), is_required: false }, sender, wanted)
}

#[tokio::test(start_paused = true)]
async fn a_subject_is_the_same_player_for_ever_and_nobody_sees_who() {
    let idp = Idp::new("k1");
    let (policy, _keys, _) = policy(Some(idp.keys()));
    let who = policy.who(Some(&idp.token(&claims()))).await.expect("known").expect("no guest");
    // printf '%s\n%s' https://id.example.com ada@example.com | sha256sum
    assert_eq!(who, "id-d1cc592ff3bbf6738384f92a5da73a13");
    let other = policy.who(Some(&idp.token(&with("sub", json!("bob"))))).await;
    assert!(other.is_ok_and(|other| other.is_some_and(|other| other != who)));
    assert_ne!(player_id("https://a", "b"), player_id("https://ab", ""));
    assert_eq!(policy.who(None).await, Ok(None), "guests are let in");
    let policy = Policy { is_required: true, ..policy };
    assert_eq!(policy.who(None).await, Err(Error::IdTokenMissing));
    let nobody = Policy::default();
    assert!(matches!(nobody.who(Some("a.b.c")).await, Err(Error::IdTokenInvalid(_))));
}

#[tokio::test(start_paused = true)]
async fn what_an_id_token_says_must_fit() {
    let idp = Idp::new("k1");
    let (policy, _keys, _) = policy(Some(idp.keys()));
    let refusal = async |token: String| match policy.who(Some(&token)).await {
        Err(Error::IdTokenInvalid(why)) => why,
        other => panic!("a refusal is expected, not {other:?}"),
    };
    let several = idp.token(&with("aud", json!(["other", AUDIENCE])));
    policy.who(Some(&several)).await.expect("one of the audiences");
    for (claims, why) in [
        (with("exp", json!(now_s() - LEEWAY_S - 2)), "it has expired"),
        (with("nbf", json!(now_s() + LEEWAY_S + 60)), "it is not good yet"),
        (with("iss", json!("https://evil.example.com")), "another provider issued it"),
        (
            with("iss", json!([ISSUER, "https://evil.example.com"])),
            "it was not issued by the provider",
        ),
        (with("aud", json!("another")), "it is for somebody else"),
        (with("aud", json!(["another"])), "it is for somebody else"),
        (with("sub", json!("")), "its subject cannot be used"),
        (with("sub", json!("a\nb")), "its subject cannot be used"),
        (with("sub", json!("a".repeat(256))), "its subject cannot be used"),
    ] {
        assert_eq!(refusal(idp.token(&claims)).await, why, "{claims}");
    }
    for name in ["iss", "aud", "sub", "exp"] {
        let mut claims = claims();
        claims.as_object_mut().expect("a map").remove(name);
        refusal(idp.token(&claims)).await;
    }
    // Another key under the same name, no signature, and what everybody knows taken for a secret.
    assert_eq!(refusal(Idp::new("k1").token(&claims())).await, "it was not issued by the provider");
    let token = idp.token(&claims());
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    refusal(format!("{signed}.")).await;
    let hmac = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
    let secret = EncodingKey::from_secret(idp.jwk.to_string().as_bytes());
    refusal(jsonwebtoken::encode(&hmac, &claims(), &secret).expect("signed")).await;
    for nonsense in ["", "..", "a.b.c", &"A".repeat(ID_TOKEN_BYTES_MAX + 1)] {
        refusal(nonsense.into()).await;
    }
    let unnamed = Header::new(Algorithm::ES256);
    refusal(jsonwebtoken::encode(&unnamed, &claims(), &idp.key).expect("signed")).await;
}

#[test]
fn only_keys_that_sign_as_we_verify_are_taken() {
    let jwk = Idp::new("k1").jwk;
    let parsed = |key: Value| {
        ProviderKeys::parse(
            json!({"keys": [{"kty": "oct", "k": "AA", "kid": "x"}, key]}).to_string().as_bytes(),
        )
    };
    let changed = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    assert_eq!(parsed(jwk.clone()).expect("a key").0.len(), 1);
    for wrong in [
        changed("use", json!("enc")),
        changed("alg", json!("ES384")),
        changed("kid", Value::Null),
        changed("crv", json!("P-384")),
        changed("x", json!("?")),
    ] {
        assert!(parsed(wrong.clone()).is_err(), "{wrong}");
    }
    for wrong in ["", "[]", "{}", "{\"keys\": {}}", "{\"keys\": []}"] {
        assert!(ProviderKeys::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn rs256_is_taken_too() {
    // From RFC 7515, appendix A.2: the key, and its example's signature over that appendix's claims.
    let jwk = json!({
        "kty": "RSA", "kid": "rsa", "alg": "RS256", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    });
    let keys = ProviderKeys::parse(json!({"keys": [jwk]}).to_string().as_bytes()).expect("keys");
    assert_eq!(keys.find("rsa").expect("it is taken").algorithm, Algorithm::RS256);
    let message = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let key = &keys.find("rsa").expect("it is taken").key;
    let verified = jsonwebtoken::crypto::verify(signature, message, key, Algorithm::RS256);
    assert!(verified.is_ok_and(|good| good));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_asked_for_and_a_join_waits_for_it_a_little() {
    let (old, new) = (Idp::new("old"), Idp::new("new"));
    let (policy, keys, wanted) = policy(Some(old.keys()));
    let token = new.token(&claims());
    let begun = Instant::now();
    let bringing = async {
        wanted.notified().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        keys.send_replace(Some(new.keys()));
    };
    let (who, ()) = tokio::join!(policy.who(Some(&token)), bringing);
    assert!(who.is_ok_and(|who| who.is_some()), "with the key that was brought");
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn made_up_keys_cost_a_provider_one_question_and_joins_no_time() {
    let idp = Idp::new("k1");
    let (policy, _keys, wanted) = policy(Some(idp.keys()));
    let made_up = Idp::new("made-up").token(&claims());
    let unknown = Err(Error::IdTokenInvalid("its key is unknown"));
    assert_eq!(policy.who(Some(&made_up)).await, unknown);
    wanted.notified().await;
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(policy.who(Some(&made_up)).await, unknown);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let asked = timeout(Duration::ZERO, wanted.notified()).await;
    assert!(asked.is_err(), "it is not asked again");
    tokio::time::advance(ASK_EVERY).await;
    assert_eq!(policy.who(Some(&made_up)).await, unknown);
    wanted.notified().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_makes_no_good_token_a_bad_one() {
    let idp = Idp::new("k1");
    let (policy, keys, _) = policy(None);
    let token = idp.token(&claims());
    assert_eq!(policy.who(Some(&token)).await, Err(Error::Overloaded), "try again");
    keys.send_replace(Some(idp.keys()));
    policy.who(Some(&token)).await.expect("now it can be verified");
}
