//! The arrows of the house: which module may name which. Read from the sources, not from hope.
//!
//! Every path in every file is looked at, in `use` and inline. To see it fail: write `use crate::rpc::status;` into a file
//! of `src/room`, or `let x = 1.0;` into one of `src/game`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Modules of this crate that each module may name, beside itself. ARCHITECTURE.md has the same list.
/// They bring all the others together.
const ROOTS: [&str; 2] = ["lib", "main"];

const ARROWS: &[(&str, &[&str])] = &[
    ("game", &[]),
    ("replication", &["game"]),
    ("store", &["game"]),
    ("replay", &["game", "replication", "store", "telemetry"]),
    ("room", &["game", "replication", "store", "telemetry"]),
    ("session", &["game", "replay", "replication", "room", "seldom", "store", "telemetry", "turn"]),
    // Implements what the session asks of a fleet.
    ("cluster", &["room", "session", "store", "telemetry", "tls", "wire"]),
    ("wire", &["game", "room", "session"]),
    (
        "rpc",
        &["addresses", "http2", "replay", "room", "session", "store", "telemetry", "turn", "wire"],
    ),
    ("web", &["addresses", "intake", "listener", "rpc", "session", "telemetry", "wire"]),
    // Files that change while the server runs; whoever has some says what becomes of them.
    ("reload", &["telemetry"]),
    ("tls", &["reload", "telemetry"]),
    // Brings the session its keys, from files and over HTTP: the session knows neither.
    ("keys", &["reload", "session", "telemetry", "tls"]),
    // The live page: what rooms say of themselves, in the wrapping that all pages have.
    ("status", &["room", "session", "telemetry", "web"]),
    ("telemetry", &[]),
    ("config", &["telemetry"]),
    ("listener", &["addresses", "http2", "intake", "telemetry", "tls"]),
    ("http2", &["intake", "seldom", "telemetry", "turn"]),
    // Belongs to nobody.
    ("addresses", &[]),
    ("intake", &[]),
    ("seldom", &[]),
    ("turn", &[]),
];

/// Crates that only some modules may name.
const GUARDED_CRATES: &[(&str, &[&str])] = &[
    // `cluster/peer.rs` calls other servers.
    ("tonic", &["rpc", "cluster"]),
    ("tonic_health", &["rpc"]),
    ("tonic_reflection", &["rpc", "app"]),
    ("tonic_types", &["rpc", "cluster"]),
    ("tonic_web", &["rpc"]),
    ("tonic_prost", &["rpc"]),
    ("prost", &["rpc", "web", "wire"]),
    ("axum", &["rpc", "web", "status", "telemetry", "listener", "http2", "app"]),
    ("h2", &["http2"]),
    ("clap", &["config", "main"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    // And of these only `cluster/kube`: see [`GUARDED_FOLDERS`].
    ("kube", &["cluster"]),
    ("k8s_openapi", &["cluster"]),
    ("rustls", &["tls"]),
    ("tokio_rustls", &["tls"]),
    ("hyper_rustls", &["keys", "tls"]),
    ("jsonwebtoken", &["session"]),
    ("p256", &["session"]),
    ("async_nats", &["cluster", "store"]),
];

/// Crates that only the files of one folder may name. (A module that is called like one is named `self::kube`.)
const GUARDED_FOLDERS: &[(&str, &str)] =
    &[("kube", "/src/cluster/kube/"), ("k8s_openapi", "/src/cluster/kube/")];

/// The parts of `fray_proto` that each module may name; modules that are not here may name all.
const PROTO_PARTS: &[(&str, &[&str])] = &[
    ("game", &["model"]),
    ("replication", &["model", "cell", "hash", "trace", "update"]),
    ("room", &["hash", "trace", "update"]),
    ("session", &["trace", "update", "PROTOCOL_VERSION"]),
    ("store", &[]),
    ("replay", &["hash"]),
    ("telemetry", &["trace"]),
];

/// All that a game may name from outside this crate.
const GAME_CRATES: &[&str] =
    &["fray_proto", "postcard", "rand_core", "rand_pcg", "serde", "std", "xxhash_rust"];
/// What of `std` has a clock, does I/O, has no order, or differs between machines.
const IMPURE_STD: &[&str] = &[
    "collections::HashMap",
    "collections::HashSet",
    "env",
    "fs",
    "io",
    "net",
    "process",
    "thread",
    "time",
    "sync::Mutex",
    "sync::RwLock",
    "sync::atomic",
];
/// Crates that the server depends on and that do something.
const EXTERNAL_CRATES: &[&str] = &[
    "async_stream",
    "axum",
    "base64",
    "bytes",
    "clap",
    "crossbeam_queue",
    "dashmap",
    "fray_proto",
    "futures_util",
    "http",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "jsonwebtoken",
    "lru",
    "p256",
    "postcard",
    "prometheus_client",
    "prost",
    "rand",
    "rand_core",
    "rand_pcg",
    "rustls",
    "serde",
    "sha2",
    "tokio",
    "tokio_rustls",
    "tokio_stream",
    "tokio_util",
    "tonic",
    "tower",
    "tower_http",
    "tracing",
    "xxhash_rust",
];

#[test]
fn modules_name_only_what_the_architecture_allows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, file, found) in sources() {
        assert!(is_module(&module) || ROOTS.contains(&module.as_str()), "{module} has no arrows");
        for path in &found.paths {
            let mut parts = path.split("::");
            let (first, second) =
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let is_allowed = match first {
                "crate" => match allowed.get(module.as_str()) {
                    Some(may) => second == module || may.contains(&second) || !is_module(second),
                    None => true,
                },
                "fray_proto" => {
                    let may = PROTO_PARTS.iter().find(|(of, _)| *of == module);
                    may.is_none_or(|(_, may)| may.contains(&second))
                }
                _ => {
                    let guarded = GUARDED_CRATES.iter().find(|(name, _)| *name == first);
                    let folder = GUARDED_FOLDERS.iter().find(|(name, _)| *name == first);
                    guarded.is_none_or(|(_, may)| may.contains(&module.as_str()))
                        && folder.is_none_or(|(_, within)| file.contains(within))
                }
            };
            if !is_allowed {
                wrong.push(format!("{file}: `{module}` may not name `{path}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn games_are_pure() {
    let mut wrong = Vec::new();
    for (module, file, found) in sources() {
        if module != "game" || file.contains("/tests") {
            continue;
        }
        for path in &found.paths {
            let (first, rest) = path.split_once("::").unwrap_or((path, ""));
            let is_external = !rest.is_empty() && EXTERNAL_CRATES.contains(&first);
            let is_impure =
                first == "std" && IMPURE_STD.iter().any(|impure| rest.starts_with(impure));
            let is_banned = ["f32", "f64", "HashMap", "HashSet"].contains(&path.as_str());
            if (is_external && !GAME_CRATES.contains(&first)) || is_impure || is_banned {
                wrong.push(format!("{file}: `{path}` has no place in a game"));
            }
        }
        if found.has_float_literal {
            wrong.push(format!("{file}: a float has no place in a game"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_module(name: &str) -> bool {
    name == "app" || ARROWS.iter().any(|(module, _)| *module == name)
}

/// Every source file: its top module, its path, and what it names.
fn sources() -> Vec<(String, String, Names)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "the sources are found");
    let read = |file: PathBuf| {
        let inside = file.strip_prefix(&root).expect("below src").with_extension("");
        let module = inside.iter().next().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("readable");
        let mut names = Names::default();
        names.visit_file(&syn::parse_file(&text).expect("it compiles, so it parses"));
        (module, file.display().to_string(), names)
    };
    files.into_iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[derive(Default)]
struct Names {
    paths: BTreeSet<String>,
    has_float_literal: bool,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, "");
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.insert(parts.join("::"));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_lit_float(&mut self, _: &'ast syn::LitFloat) {
        self.has_float_literal = true;
    }
}

impl Names {
    /// Paths in a macro's body, which is not parsed: identifiers joined by `::`.
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            if path.len() > 1 {
                self.paths.insert(path.join("::"));
            }
            path.clear();
            colons = 0;
        }
        if path.len() > 1 {
            self.paths.insert(path.join("::"));
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &str) {
        let joined = |name: &syn::Ident| match before {
            "" => name.to_string(),
            before => format!("{before}::{name}"),
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &joined(&path.ident)),
            syn::UseTree::Name(name) => {
                self.paths.insert(joined(&name.ident));
            }
            syn::UseTree::Rename(rename) => {
                self.paths.insert(joined(&rename.ident));
            }
            syn::UseTree::Glob(_) => {
                self.paths.insert(before.to_owned());
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(item, before));
            }
        }
    }
}
