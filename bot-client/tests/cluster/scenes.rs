//! One scene after the other, each with what came of it.

use super::fleet::{self, Fleet};
use super::kube::Kube;
use super::settings::Settings;
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// These say something of the tests, and nothing of the fleet: what there is to see when nothing happens.
const WHEN_ASKED: [&str; 1] = ["by will: nothing (control)"];

/// What came of the scenes so far.
pub struct Stage {
    pub kube: Kube,
    outcomes: Vec<(String, Outcome)>,
    /// What is installed, for scenes that have the same.
    fleet: Option<Fleet>,
}

enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

impl Stage {
    pub fn new(settings: Settings) -> Self {
        Self { kube: Kube { settings }, outcomes: Vec::new(), fleet: None }
    }

    fn is_wanted(&mut self, name: &str) -> bool {
        let Settings { only, long, .. } = &self.kube.settings;
        if !only.is_empty() {
            return only.iter().any(|part| name.contains(part.as_str()));
        }
        let is_now = *long || !WHEN_ASKED.contains(&name);
        if !is_now {
            let why = "nothing happens in it; FRAY_CLUSTER_LONG=1 plays it";
            self.note(name, Outcome::Skipped(why.to_owned()));
        }
        is_now
    }

    /// Plays a scene on its own. What it returns are figures, for people.
    pub fn scene(&mut self, name: &str, play: impl FnOnce(&Kube) -> String) {
        if !self.is_wanted(name) {
            return;
        }
        self.end_fleet();
        let kube = self.kube.clone();
        self.play(name, || play(&kube));
        // However it ended: the next one begins with nothing.
        let gone = catch_unwind(AssertUnwindSafe(|| fleet::uninstall(&kube)));
        if gone.is_err() {
            self.note(name, Outcome::Failed("it cannot be uninstalled".into()));
        }
    }

    /// Plays a scene on three servers, which stay for the next ones.
    pub fn on_three_servers(&mut self, name: &str, play: impl FnOnce(&mut Fleet) -> String) {
        if !self.is_wanted(name) {
            return;
        }
        if self.fleet.is_none() {
            let kube = self.kube.clone();
            match catch_unwind(AssertUnwindSafe(|| {
                Fleet::of_servers(&kube, &json!({ "replicas": 3 }))
            })) {
                Ok(fleet) => self.fleet = Some(fleet),
                Err(panic) => {
                    self.tell_pods();
                    return self.note(name, Outcome::Failed(said(panic.as_ref())));
                }
            }
        }
        let mut fleet = self.fleet.take().expect("it was installed above");
        if self.play(name, || play(&mut fleet)) {
            self.fleet = Some(fleet);
        } else {
            // Whatever it left behind is not for the next one.
            let _ = catch_unwind(AssertUnwindSafe(|| fleet.uninstall()));
        }
    }

    fn play(&mut self, name: &str, play: impl FnOnce() -> String) -> bool {
        println!("--- {name}");
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(play));
        let took = begin.elapsed().as_secs();
        match outcome {
            Ok(figures) => {
                self.note(name, Outcome::Passed(format!("{figures} [{took} s]")));
                true
            }
            Err(panic) => {
                self.tell_pods();
                self.note(name, Outcome::Failed(format!("{} [{took} s]", said(panic.as_ref()))));
                false
            }
        }
    }

    /// Why a scene cannot be played here.
    pub fn skip(&mut self, name: &str, why: &str) {
        if self.is_wanted(name) {
            self.note(name, Outcome::Skipped(why.to_owned()));
        }
    }

    fn note(&mut self, name: &str, outcome: Outcome) {
        println!("{}", line(name, &outcome));
        self.outcomes.push((name.to_owned(), outcome));
    }

    /// What whoever looks for the cause asks first, and what is gone afterwards.
    fn tell_pods(&self) {
        for arguments in [
            &["get", "pods", "--output=wide"] as &[&str],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", "--selector=app.kubernetes.io/component=server", "--tail=15", "--prefix"],
        ] {
            let text = self.kube.try_kubectl(arguments).unwrap_or_else(|error| error);
            let from = text.lines().count().saturating_sub(40);
            println!("$ kubectl {}", arguments.join(" "));
            text.lines().skip(from).for_each(|line| println!("    {line}"));
        }
    }

    fn end_fleet(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.uninstall();
        }
    }

    /// Takes everything away, and says what came of it.
    pub fn close(mut self) {
        self.end_fleet();
        let mut text = String::new();
        for (name, outcome) in &self.outcomes {
            text += &line(name, outcome);
            text.push('\n');
        }
        println!("\n=== Scenes\n{text}");
        std::fs::write(self.kube.out("scenes.txt"), &text).expect("a file");
        assert!(!self.outcomes.is_empty(), "no scene has such a name");
        let failed =
            self.outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        let failed: Vec<_> = failed.map(|(name, _)| name).collect();
        assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    }
}

fn line(name: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(figures) => format!("passed   {name}: {figures}"),
        Outcome::Failed(why) => format!("FAILED   {name}: {why}"),
        Outcome::Skipped(why) => format!("SKIPPED  {name}: {why}"),
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
