//! What a scene does to a node is noted before it is done, so that it is undone however the scene ends: by the scene itself, or, when
//! the tests are ended before their time, by `scripts/test-cluster.sh`, which finds in the file what is left.

use super::kube::{Kube, printed};
use super::settings::Hook;
use std::fmt;
use std::fs;
use std::io;

/// What undoes it. The script knows these by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A node takes pods again.
    Uncordon,
    /// A node that was killed starts again.
    Start,
    /// A node's packets get through again.
    Heal,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uncordon => "uncordon",
            Self::Start => "start",
            Self::Heal => "heal",
        })
    }
}

/// Undoes something when it is dropped, which is also when a scene fails.
pub struct Undo {
    kube: Kube,
    verb: Verb,
    node: String,
}

impl Undo {
    /// To be called before what makes it necessary.
    pub fn note(kube: &Kube, verb: Verb, node: &str) -> Self {
        let undo = Self { kube: kube.clone(), verb, node: node.to_owned() };
        undo.write(&with(&undo.lines(), &undo.line())).expect("a file");
        undo
    }

    /// The node takes no more pods, until this is dropped.
    pub fn cordon(kube: &Kube, node: &str) -> Self {
        let undo = Self::note(kube, Verb::Uncordon, node);
        kube.kubectl(&["cordon", node]);
        undo
    }

    fn line(&self) -> String {
        format!("{} {}", self.verb, self.node)
    }

    fn run(&self) -> Result<String, String> {
        let (settings, node) = (&self.kube.settings, self.node.as_str());
        let hook = |hook: &Option<Hook>, arguments: &[&str]| {
            let hook = hook.as_ref().ok_or("there is no command for it")?;
            printed(&mut hook.command(arguments))
        };
        match self.verb {
            Verb::Uncordon => self.kube.try_kubectl(&["uncordon", node]),
            Verb::Start => hook(&settings.node_start, &[node]),
            Verb::Heal => {
                let table = settings.table();
                // The first half makes it good for a cut that was never made.
                let heal = format!("add table inet {table}; delete table inet {table}");
                hook(&settings.node_exec, &[node, "nft", &heal])
            }
        }
    }

    fn lines(&self) -> String {
        fs::read_to_string(&self.kube.settings.undo).unwrap_or_default()
    }

    /// All at once: whoever reads it meanwhile finds every line of before, or every line of afterwards.
    fn write(&self, lines: &str) -> io::Result<()> {
        let file = &self.kube.settings.undo;
        let new = file.with_extension("new");
        fs::write(&new, lines).and_then(|()| fs::rename(&new, file))
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let strike_off = |_| self.write(&without(&self.lines(), &self.line()));
        let undone = self.run().map(strike_off);
        // A scene that failed is told of already: here nothing panics.
        if let Err(error) = undone.and_then(|written| written.map_err(|error| error.to_string())) {
            eprintln!("{}: not yet, tried again in the end: {error}", self.line());
        }
    }
}

fn with(lines: &str, line: &str) -> String {
    format!("{lines}{line}\n")
}

/// The last one like this is gone.
fn without(lines: &str, line: &str) -> String {
    let mut all: Vec<&str> = lines.lines().collect();
    if let Some(at) = all.iter().rposition(|other| *other == line) {
        all.remove(at);
    }
    all.into_iter().fold(String::new(), |lines, line| with(&lines, line))
}

#[test]
fn what_is_undone_is_no_longer_noted_and_all_else_still_is() {
    let noted =
        ["uncordon n1", "heal n2", "uncordon n1"].iter().fold(String::new(), |l, n| with(&l, n));
    assert_eq!(without(&noted, "uncordon n1"), "uncordon n1\nheal n2\n");
    assert_eq!(without(&noted, "heal n2"), "uncordon n1\nuncordon n1\n");
    assert_eq!(without(&noted, "heal n"), noted);
    assert_eq!(without("heal n2\n", "heal n2"), "");
}
