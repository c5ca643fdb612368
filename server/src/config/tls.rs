//! TLS on the players' port, and among servers.

use clap::Args;
use std::path::PathBuf;

/// Flags about TLS. `docs/TLS.md` says how they are used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsFlags {
    /// Speak TLS on the players' port, with this certificate: a PEM file, the chain after it. Looked at every 10 s. The
    /// operators' port stays as it is
    #[arg(long, env = "FRAY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, PEM
    #[arg(long, env = "FRAY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate that this authority has signed, such as an edge: a PEM file
    #[arg(long, env = "FRAY_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Speak TLS with other servers, and show them this certificate: a PEM file, the chain after it
    #[arg(long, env = "FRAY_PEER_TLS_CERT", value_name = "FILE", requires_all = ["peer_tls_key", "peer_tls_ca"])]
    pub peer_tls_cert: Option<PathBuf>,

    /// That certificate's private key, PEM
    #[arg(long, env = "FRAY_PEER_TLS_KEY", value_name = "FILE", requires = "peer_tls_cert")]
    pub peer_tls_key: Option<PathBuf>,

    /// Of other servers, those count whose certificate this authority has signed: a PEM file
    #[arg(long, env = "FRAY_PEER_TLS_CA", value_name = "FILE", requires = "peer_tls_cert")]
    pub peer_tls_ca: Option<PathBuf>,

    /// The name that each server's certificate must have: they are known by addresses, which change
    #[arg(long, env = "FRAY_PEER_TLS_NAME", value_name = "NAME", default_value = "fray-server")]
    pub peer_tls_name: String,
}
