//! The chart as it comes: up in a minute, played in a browser, gone without a trace.

use super::fleet::{Fleet, RELEASE, uninstall};
use super::kube::{Kube, until};
use super::scenes::Stage;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Until everything is ready, when the images are there.
const READY: Duration = Duration::from_secs(60);

/// Whatever could be left in a namespace.
const KINDS: &str = "pods,deployments,statefulsets,replicasets,daemonsets,jobs,cronjobs,services,endpointslices,configmaps,\
    secrets,serviceaccounts,roles,rolebindings,persistentvolumeclaims,poddisruptionbudgets,horizontalpodautoscalers,\
    networkpolicies,ingresses,leases";

/// The same of what belongs to no namespace.
const WIDE_KINDS: &str = "clusterroles,clusterrolebindings,priorityclasses,validatingadmissionpolicies,\
    validatingadmissionpolicybindings,validatingwebhookconfigurations,mutatingwebhookconfigurations,persistentvolumes";

pub fn scenes(stage: &mut Stage) {
    stage.scene("install with default values", |kube| {
        let before = all(kube);
        let fleet = Fleet::install(kube, &json!({}));
        assert!(fleet.took < READY, "ready after {:?}, and not within {READY:?}", fleet.took);
        kube.helm(&["test", RELEASE, "--timeout", "180s"]);
        let played = browser(kube);
        let took = fleet.took.as_secs_f64();
        uninstall(kube);
        leaves_nothing(kube, &before);
        format!("ready after {took:.1} s; helm test passed; {played}; nothing is left but the keys")
    });
    stage.scene("install without NATS, one server", |kube| {
        let before = all(kube);
        let values = json!({ "nats": { "enabled": false }, "servers": { "replicas": 1 } });
        let fleet = Fleet::install(kube, &values);
        assert!(fleet.took < READY, "ready after {:?}, and not within {READY:?}", fleet.took);
        kube.helm(&["test", RELEASE, "--timeout", "180s"]);
        let took = fleet.took.as_secs_f64();
        uninstall(kube);
        leaves_nothing(kube, &before);
        format!("ready after {took:.1} s; helm test passed; nothing is left but the keys")
    });
}

/// The game in a real browser, through `kubectl port-forward`.
fn browser(kube: &Kube) -> String {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    let is_there = |program: &str| {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if !is_there("npm") || !web.join("node_modules").is_dir() {
        println!("SKIPPED: the browser: it needs npm, and `npm ci` in web/");
        return "no browser here (SKIPPED)".to_owned();
    }
    let service = format!("service/{RELEASE}-edge");
    let log = kube.out("port-forward.log");
    let forward = kube.beside(&["port-forward", &service, ":80"], &log);
    let url = until("a forwarded port", Duration::from_secs(20), || {
        let text = forward.text();
        let from = text.find("127.0.0.1:")?;
        let address = text[from..].split_whitespace().next()?;
        Some(format!("http://{address}"))
    });
    let generated =
        Command::new("npm").args(["run", "--silent", "generate"]).current_dir(&web).status();
    assert!(generated.is_ok_and(|status| status.success()), "npm run generate");
    let status = Command::new("npx")
        .args(["vitest", "run", "--config", "e2e/vitest.config.ts", "cluster"])
        .current_dir(&web)
        .env("FRAY_PLAY_URL", url)
        .env("FRAY_PICTURES", &kube.settings.out)
        .status()
        .expect("npx starts");
    assert!(status.success(), "the page in a browser, through kubectl port-forward");
    let picture = kube.out("cluster.png");
    assert!(picture.is_file(), "there is no picture");
    format!("played in a browser through port-forward ({})", picture.display())
}

/// Everything that there is, as KIND/NAME.
fn all(kube: &Kube) -> Vec<String> {
    let names = |kinds: &str| {
        let list = kube.get(&[kinds]);
        let items = list["items"].as_array().expect("a list").iter();
        let name = |item: &Value| {
            let of = |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            format!("{}/{}", of("/kind"), of("/metadata/name"))
        };
        items.map(name).collect::<Vec<_>>()
    };
    // Others install and uninstall, too; what is ours is named after the namespace.
    let wide = names(WIDE_KINDS).into_iter().filter(|name| name.contains(&kube.settings.namespace));
    let mut names = [names(KINDS), wide.collect()].concat();
    names.sort();
    names
}

/// Who installs it again finds the keys; players' tickets are still good.
fn leaves_nothing(kube: &Kube, before: &[String]) {
    let keys = format!("Secret/{RELEASE}-keys");
    // Endpoints and the like follow their owners a moment later.
    let left = || all(kube).into_iter().filter(|name| !before.contains(name) && *name != keys);
    let mut last = Vec::new();
    let gone = (0..40).any(|_| {
        last = left().collect();
        if !last.is_empty() {
            std::thread::sleep(Duration::from_millis(500));
        }
        last.is_empty()
    });
    assert!(gone, "helm uninstall left {last:?}");
    assert!(
        all(kube).contains(&keys),
        "the keys are gone: tickets of players would be worth nothing"
    );
}
