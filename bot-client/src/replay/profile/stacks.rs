//! What the sampler saw within the tick.

use super::phases::{PHASE_NAMES, PHASES, PHASES_PATH};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// How many functions are named.
const HOTTEST: usize = 15;

/// A stack that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    /// Functions, the outermost first.
    pub(super) frames: Vec<String>,
    /// How often.
    pub(super) samples: u64,
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
        let mut functions: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for stack in stacks {
            let Some((phase, at)) =
                stack.frames.iter().enumerate().find_map(|(at, frame)| Some((phase(frame)?, at)))
            else {
                continue;
            };
            let within = &stack.frames[at..];
            profile.samples += stack.samples;
            profile.phases[phase] += stack.samples;
            let mut folded = PHASE_NAMES[phase].to_owned();
            for frame in &within[1..] {
                // What separates functions here must not be part of one.
                let _ = write!(folded, ";{}", frame.replace(';', ":"));
            }
            *profile.stacks.entry(folded).or_default() += stack.samples;
            if let Some(top) = within.last() {
                functions.entry(top).or_default()[0] += stack.samples;
            }
            // One that calls itself counts once.
            for frame in within.iter().map(String::as_str).collect::<BTreeSet<_>>() {
                functions.entry(frame).or_default()[1] += stack.samples;
            }
        }
        if profile.samples == 0 {
            return Err(why_none(stacks));
        }
        let owned = |(name, [own, all]): (&str, [u64; 2])| (name.to_owned(), own, all);
        profile.hottest =
            functions.into_iter().filter(|(_, [own, _])| *own > 0).map(owned).collect();
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

fn phase(frame: &str) -> Option<usize> {
    let name = frame.strip_prefix(PHASES_PATH)?;
    PHASE_NAMES.iter().position(|phase| *phase == name)
}

fn why_none(stacks: &[Stack]) -> String {
    let samples: u64 = stacks.iter().map(|stack| stack.samples).sum();
    let has_names = stacks.iter().flat_map(|stack| &stack.frames).any(|f| f.starts_with("fray_"));
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
