//! TLS at the edge, and between the edge and its servers.

use crate::envoy::{Edge, PATIENCE, folder, values};
use crate::http::{Client, End, tls};
use crate::tickets::Issuer;
use crate::upstream::Upstream;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Who vouches for certificates here.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Whoever has its issuer's name passes for self-signed.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// Puts a certificate into a folder, or replaces it, the way Kubernetes does: all files at once, by one link.
    pub fn mount(&self, folder: &Path, name: &str, generation: u32) -> CertificateDer<'static> {
        let (certificate, key) = self.issue(name);
        let files = folder.join(format!("..{generation}"));
        std::fs::create_dir_all(&files).expect("a folder");
        let contents = [
            ("tls.crt", certificate.pem()),
            ("tls.key", key.serialize_pem()),
            ("ca.crt", self.0.pem()),
        ];
        for (file, text) in &contents {
            std::fs::write(files.join(file), text).expect("a file");
        }
        let link = folder.join("..data_tmp");
        symlink(format!("..{generation}"), &link).expect("a link");
        std::fs::rename(link, folder.join("..data")).expect("renamed");
        for (file, _) in &contents {
            let link = folder.join(file);
            if !link.exists() {
                symlink(format!("..data/{file}"), link).expect("a link");
            }
        }
        certificate.der().clone()
    }
}

/// Values for an edge with TLS; the certificate is in `tls`.
pub fn with_tls(mut values: Value) -> Value {
    values["tls"] = json!({ "mode": "secret", "folder": "tls" });
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_to_new_connections_and_streams_live_on() {
    let (authority, issuer) = (Authority::new(), Issuer::new("one"));
    let server = Upstream::start("v1").await;
    let folder = folder();
    let mounted = folder.join("tls");
    let first = authority.mount(&mounted, "localhost", 1);
    let values = with_tls(values(&[server.address], &Issuer::jwks(&[&issuer])));
    let Some(edge) = Edge::start_in(folder, &values).await else { return };
    let trusted = [authority.certificate()];
    let (socket, shown) = tls(edge.address, &trusted, "h2").await;
    assert_eq!(shown, first);
    let mut client = Client::over_http2(socket, edge.address).await;
    let bearer = issuer.bearer(server.address);
    let headers = [("authorization", bearer.as_str()), ("x-speak-every-ms", "20")];
    let mut stream = client.open("/fray.v1.Play/Play", &headers).await;
    stream.echo().await;

    let second = authority.mount(&mounted, "localhost", 2);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, shown) = tls(edge.address, &trusted, "h2").await;
        if shown == second {
            break;
        }
        assert_eq!(shown, first);
        assert!(Instant::now() < deadline, "the new certificate is never shown");
    }
    for _ in 0..5 {
        assert_eq!(stream.next().await.expect("the stream lives on"), "tick");
    }
    assert_eq!(stream.finish().await, End::Status(Some(0)));
}

/// A server that lets in only those for whom the authority vouches.
fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate()).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let verifier = verifier.build().expect("a verifier");
    let (certificate, key) = authority.issue(name);
    let key = key.serialize_der().try_into().expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).expect("1.3");
    let config = config.with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    TlsAcceptor::from(Arc::new(config))
}

/// Of two servers, one has the right name and one another's. TLS 1.3 on purpose: Envoy would stop at 1.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edge_and_servers_prove_to_each_other_who_they_are() {
    let (authority, stranger, issuer) = (Authority::new(), Authority::new(), Issuer::new("one"));
    let server = Upstream::serve("v1", Some(acceptor(&authority, "fray-server"))).await;
    let misnamed = Upstream::serve("v1", Some(acceptor(&authority, "elsewhere"))).await;
    let mut values = values(&[server.address, misnamed.address], &Issuer::jwks(&[&issuer]));
    values["internalTls"] = json!({ "mode": "secret", "folder": "servers" });
    for (vouches, is_let_in) in [(&authority, true), (&stranger, false)] {
        let folder = folder();
        vouches.mount(&folder.join("servers"), "fray-edge", 1);
        // The edge itself knows who vouches for servers.
        std::fs::write(folder.join("servers/..1/ca.crt"), authority.0.pem()).expect("a file");
        let Some(edge) = Edge::start_in(folder, &values).await else { return };
        edge.healthy("servers", u64::from(is_let_in)).await;
        let mut client = Client::connect(edge.address).await;
        let bearer = issuer.bearer(server.address);
        let reply = client.call("/fray.v1.Play/Play", &[("authorization", &bearer)]).await;
        assert_eq!(reply.grpc(), Some(if is_let_in { 0 } else { 14 }), "{reply:?}");
        let bearer = issuer.bearer(misnamed.address);
        let reply = client.call("/fray.v1.Play/Play", &[("authorization", &bearer)]).await;
        assert_eq!(reply.grpc(), Some(14), "{reply:?}");
        if is_let_in {
            // HTTP/1.1 has a cluster of its own.
            let _ = crate::streams::websocket(&edge, &issuer.ticket(server.address)).await;
        }
    }
    assert_eq!(misnamed.does.seen(), [Value::Null; 0]);
}
