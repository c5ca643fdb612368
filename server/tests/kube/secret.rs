//! `fray-server keys ensure`.

use crate::cluster::on_cluster;
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};

fn ensure(secret: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fray-server"))
        .args(["keys", "ensure", "--secret", secret])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn of_many_who_want_the_secret_one_makes_it_and_all_are_content() {
    on_cluster(async |cluster| {
        let children: Vec<_> = (0..6).map(|_| ensure(&cluster.name)).collect();
        let all: Vec<_> = children
            .into_iter()
            .map(|child| said(&child.wait_with_output().expect("it ends")))
            .collect();
        let made: Vec<_> = all.iter().filter(|said| said.contains(": made, with ")).collect();
        assert_eq!(made.len(), 1, "{all:?}");

        let read = async || -> BTreeMap<String, Vec<u8>> {
            let secret = cluster.api::<Secret>().get(&cluster.name).await.expect("it is there");
            let data = secret.data.expect("something in it").into_iter();
            data.map(|(name, bytes)| (name, bytes.0)).collect()
        };
        let first = read().await;
        let (pem, key): (Vec<_>, Vec<_>) =
            first.iter().partition(|(name, _)| name.as_str() != "session-key");
        assert_eq!((pem.len(), key.len()), (1, 1));
        assert!(pem[0].1.starts_with(b"-----BEGIN PRIVATE KEY-----"), "PKCS#8");
        let id = pem[0].0.strip_suffix(".pem").expect("named as a key file is");
        assert!(!id.is_empty());
        assert!(key[0].1.len() >= 32);

        let again = said(&ensure(&cluster.name).wait_with_output().expect("it ends"));
        assert!(again.contains("was there, nothing is changed"), "{again}");
        assert_eq!(read().await, first);
    });
}

#[test]
fn a_secret_that_cannot_be_made_is_an_error_in_a_sentence() {
    on_cluster(async |_| {
        let refused = ensure("Not_A_Name").wait_with_output().expect("it ends");
        assert_eq!(refused.status.code(), Some(1));
        let why = String::from_utf8(refused.stderr).expect("text");
        assert!(why.starts_with("fray-server: the Kubernetes API: "), "{why}");
        assert!(why.lines().count() == 1 && !why.contains("Status {"), "{why}");
    });
}
