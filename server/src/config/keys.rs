//! Keys of tickets and sessions, and the identity provider that is trusted.

use clap::{ArgAction, Args};
use std::path::PathBuf;
use std::time::Duration;

/// Flags about keys and identities. `docs/TICKETS.md` says how they are used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tickets and identity")]
pub struct KeyFlags {
    /// Sign tickets with the keys in this folder, and verify them with all of them: files NAME.pem, PKCS#8 (`fray-server keys
    /// new DIR` makes one). Looked at every 10 s. Without it the server makes a key that it keeps to itself
    #[arg(long, env = "FRAY_TICKET_KEYS", value_name = "DIR")]
    pub ticket_keys: Option<PathBuf>,

    /// How long others may keep the public keys of /.well-known/jwks.json. A new key signs after twice that time
    #[arg(long, env = "FRAY_JWKS_MAX_AGE", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub jwks_max_age: Duration,

    /// How long a ticket, and the seat that is kept for whoever has it, are good: 1 s to 1 h. A session that has begun is not bound by it
    #[arg(long, env = "FRAY_TICKET_TTL", value_name = "TIME", default_value = "60s", value_parser = ticket_ttl)]
    pub ticket_ttl: Duration,

    /// Make resume tokens from this file, the same on all servers: at least 32 random bytes [default: made up, and lost with the
    /// process]
    #[arg(long, env = "FRAY_SESSION_KEY", value_name = "FILE")]
    pub session_key: Option<PathBuf>,

    /// Trust this identity provider (OIDC): the `iss` of its ID tokens. Needs --id-audience and --id-jwks
    #[arg(long, env = "FRAY_ID_ISSUER", value_name = "URL", requires_all = ["id_audience", "id_jwks"])]
    pub id_issuer: Option<String>,

    /// Who ID tokens must be for: their `aud`
    #[arg(long, env = "FRAY_ID_AUDIENCE", value_name = "NAME", requires = "id_issuer")]
    pub id_audience: Option<String>,

    /// The provider's public keys (JWKS): a file, looked at every 10 s, or an address, fetched every 5 minutes
    #[arg(long, env = "FRAY_ID_JWKS", value_name = "FILE|URL", requires = "id_issuer")]
    pub id_jwks: Option<String>,

    /// Turn away players without an ID token, and those without a ticket
    #[arg(long, env = "FRAY_REQUIRE_ID_TOKEN", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set, requires_if("true", "id_issuer"))]
    pub require_id_token: bool,
}

/// Whole seconds, as tickets count; and no ticket is worth stealing for long.
fn ticket_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let is_good = ttl.subsec_nanos() == 0 && (1..=3600).contains(&ttl.as_secs());
    if is_good { Ok(ttl) } else { Err("not whole seconds from 1 s to 1 h".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_good_for_whole_seconds_and_not_for_long() {
        assert_eq!(ticket_ttl("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "1500ms", "2h", "soon"] {
            assert!(ticket_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
