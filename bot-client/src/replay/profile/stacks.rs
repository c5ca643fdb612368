//! What the sampler saw within the tick.

use super::phases::{PHASE_NAMES, PHASES, PHASES_FILE, PHASES_PATH};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// How many functions are named.
const HOTTEST: usize = 15;

/// A stack that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// The outermost first.
    pub(super) frames: Vec<Frame>,
    /// How often.
    pub(super) samples: u64,
}

/// A function on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Without its path where there are only line tables, as in a release build.
    pub(super) name: String,
    /// The file that it is in, where that is known.
    pub(super) file: Option<String>,
}

impl Frame {
    /// For people, and to tell functions apart.
    fn label(&self) -> String {
        let own_name = self.name.split('<').next().unwrap_or_default();
        let has_path = own_name.is_empty() || own_name.contains("::");
        match &self.file {
            Some(file) if !has_path => format!("{} ({})", self.name, short(file)),
            _ => self.name.clone(),
        }
    }

    /// Which part of a tick it is, if it is one.
    fn phase(&self) -> Option<usize> {
        let name = if self.file.as_ref().is_some_and(|file| file.ends_with(PHASES_FILE)) {
            self.name.rsplit("::").next()?
        } else {
            self.name.strip_prefix(PHASES_PATH)?
        };
        PHASE_NAMES.iter().position(|phase| *phase == name)
    }
}

/// A file's path without what differs between machines.
fn short(file: &str) -> &str {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    let here = here.trim_end_matches("bot-client/../");
    if let Some(own) = file.strip_prefix(here) {
        return own;
    }
    // <registry>/src/<index>/<crate>-<version>/…, and /rustc/<commit>/library/…
    for (before, folders) in [("/registry/src/", 1), ("/rustc/", 2)] {
        if let Some((_, rest)) = file.split_once(before) {
            return rest.splitn(folders + 1, '/').last().unwrap_or(rest);
        }
    }
    file
}

/// Where the time of a tick goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    /// Samples within the tick.
    pub(super) samples: u64,
    /// … of each part.
    pub(super) phases: [u64; PHASES],
    /// The functions with most samples of their own, first: name, own samples, with those that they call.
    pub(super) hottest: Vec<(String, u64, u64)>,
    /// Stacks from the part on, `;` between functions, in order.
    stacks: BTreeMap<String, u64>,
}

impl Profile {
    /// Takes what is within a tick, and nothing else of the process. An error: there is none, and why.
    pub(super) fn new(stacks: &[Stack]) -> Result<Self, String> {
        let mut profile = Self::default();
        let mut functions: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        for stack in stacks {
            let parts = stack.frames.iter().map(Frame::phase);
            let Some((at, phase)) = parts.enumerate().find_map(|(at, part)| Some((at, part?)))
            else {
                continue;
            };
            let mut within = vec![PHASE_NAMES[phase].to_owned()];
            within.extend(stack.frames[at + 1..].iter().map(Frame::label));
            profile.samples += stack.samples;
            profile.phases[phase] += stack.samples;
            // What separates functions here must not be part of one.
            let folded: Vec<String> = within.iter().map(|name| name.replace(';', ":")).collect();
            *profile.stacks.entry(folded.join(";")).or_default() += stack.samples;
            if let Some(top) = within.last() {
                functions.entry(top.clone()).or_default()[0] += stack.samples;
            }
            // One that calls itself counts once.
            for name in within.into_iter().collect::<BTreeSet<_>>() {
                functions.entry(name).or_default()[1] += stack.samples;
            }
        }
        if profile.samples == 0 {
            return Err(why_none(stacks));
        }
        let hot = functions.into_iter().filter(|(_, [own, _])| *own > 0);
        profile.hottest = hot.map(|(name, [own, all])| (name, own, all)).collect();
        profile.hottest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        profile.hottest.truncate(HOTTEST);
        Ok(profile)
    }

    /// A stack a line with its count, as flame graphs are made from.
    pub(super) fn folded(&self) -> String {
        self.stacks.iter().fold(String::new(), |mut text, (stack, samples)| {
            let _ = writeln!(text, "{stack} {samples}");
            text
        })
    }
}

fn why_none(stacks: &[Stack]) -> String {
    let samples: u64 = stacks.iter().map(|stack| stack.samples).sum();
    let mut frames = stacks.iter().flat_map(|stack| &stack.frames);
    // Those of the system's libraries are there in any case.
    let is_rust = |file: &String| Path::new(file).extension().is_some_and(|end| end == "rs");
    let has_names = frames
        .any(|frame| frame.name.contains("fray_") || frame.file.as_ref().is_some_and(is_rust));
    if samples == 0 {
        "no samples: it was too short, or this process may not be sampled".to_owned()
    } else if has_names {
        format!(
            "{samples} samples, and none of them within the tick: let it run longer, with --profile-for"
        )
    } else {
        format!("{samples} samples without names: this program's symbols were stripped from it")
    }
}
