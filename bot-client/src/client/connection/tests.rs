//! Goal: the machine does what the table says, as the browser's does; and whatever happens, it tries again neither without
//! a pause nor for ever, and does not give up a session that may still be there.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use tonic::Code;

const CASES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/connection/cases.json"));
const FIRST: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Table {
    situations: BTreeMap<String, Vec<Step>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    from: String,
    #[serde(default)]
    fractions: Vec<f64>,
    #[serde(default)]
    each: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: u64,
    #[serde(rename = "in")]
    input: In,
    out: Out,
    #[serde(default)]
    timer: Option<u64>,
    #[serde(default)]
    frozen: bool,
    #[serde(default)]
    busy: bool,
    #[serde(default)]
    moving: bool,
    /// Absent: not looked at.
    grace_until: Option<Grace>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Grace {
    Until(u64),
    Word(NoGrace),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoGrace {
    None,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum In {
    Joined { joined: String, expires_in_s: u64 },
    Redirected { redirected: String, expires_in_s: u64 },
    Refused { refused: String },
    Welcomed { welcomed: String, grace_ms: u64, idle_timeout_ms: u64 },
    Frozen { frozen: bool },
    Ended { ended: String },
    Word(String),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Out {
    Join {
        join: String,
        #[serde(default)]
        resume_token: String,
    },
    Open {
        open: String,
    },
    Over {
        over: String,
    },
    Word(String),
}

/// Chance as a case has it.
struct Scripted {
    fractions: VecDeque<f64>,
    wishes: u32,
}

impl Chance for Scripted {
    fn fraction(&mut self) -> f64 {
        self.fractions.pop_front().expect("the case has a number for each pause")
    }

    fn request_id(&mut self) -> String {
        self.wishes += 1;
        format!("wish-{}", self.wishes)
    }
}

fn ended(label: &str) -> Ended {
    let (name, reason) = label.split_once('/').unwrap_or((label, ""));
    let code = (0..=16).map(Code::from).find(|code| Ended::named(*code) == name);
    let code = code.unwrap_or_else(|| panic!("{name} is no status"));
    Ended { code, reason: reason.to_owned(), message: String::new() }
}

fn reason_of(label: &str) -> &str {
    label.split_once('/').map_or(label, |(_, reason)| reason)
}

/// Runs a step; says how it went instead, if it did.
fn run(
    connection: &mut Connection,
    step: &Step,
    status: &str,
    chance: &mut Scripted,
) -> Result<(), String> {
    let with = |text: &str| text.replace('$', status);
    let end;
    let input = match &step.input {
        In::Joined { joined, expires_in_s } => {
            Input::Joined { ticket: joined, expires_in: Duration::from_secs(*expires_in_s) }
        }
        In::Redirected { redirected, expires_in_s } => {
            let expires_in = Duration::from_secs(*expires_in_s);
            Input::Redirected { ticket: redirected, expires_in }
        }
        In::Refused { refused } => {
            end = ended(&with(refused));
            Input::Refused(&end)
        }
        In::Welcomed { welcomed, grace_ms, idle_timeout_ms } => Input::Welcomed {
            resume_token: welcomed,
            grace: Duration::from_millis(*grace_ms),
            idle_timeout: Duration::from_millis(*idle_timeout_ms),
        },
        In::Frozen { frozen } => Input::Frozen(*frozen),
        In::Ended { ended: label } => {
            end = ended(&with(label));
            Input::Ended(&end)
        }
        In::Word(word) => match word.as_str() {
            "begin" => Input::Begin,
            "opened" => Input::Opened,
            "timer" => Input::Timer,
            "left" => Input::Left,
            _ => panic!("{word} is no input"),
        },
    };
    let did = match connection.handle(step.at, input, chance) {
        Action::Nothing => "nothing".to_owned(),
        Action::Wait => "wait".to_owned(),
        Action::Join { request_id, resume_token } => format!("join {request_id} {resume_token}"),
        Action::Open { ticket } => format!("open {ticket}"),
        Action::Over(None) => "over LEFT".to_owned(),
        Action::Over(Some(ended)) => format!("over {}", reason_of(&ended.label())),
    };
    let wanted = match &step.out {
        Out::Word(word) => word.clone(),
        Out::Join { join, resume_token } => format!("join {join} {resume_token}"),
        Out::Open { open } => format!("open {open}"),
        Out::Over { over } => format!("over {}", reason_of(&with(over))),
    };
    let looks = [connection.is_frozen(), connection.is_busy(), connection.is_moving()];
    let is = (did, connection.deadline_ms(), looks);
    let should_be = (wanted, step.timer, [step.frozen, step.busy, step.moving]);
    if is != should_be {
        return Err(format!("at {}: {is:?} instead of {should_be:?}", step.at));
    }
    let grace_until = match step.grace_until {
        None => return Ok(()),
        Some(Grace::Until(ms)) => Some(ms),
        Some(Grace::Word(NoGrace::None)) => None,
    };
    if grace_until != connection.grace_until_ms() {
        return Err(format!("at {}: grace until {:?}", step.at, connection.grace_until_ms()));
    }
    Ok(())
}

#[test]
fn every_case_of_the_table_goes_as_it_says() {
    let table: Table = serde_json::from_str(CASES).expect("the table");
    let mut failures = Vec::new();
    let mut count = 0;
    for case in &table.cases {
        let before = &table.situations[&case.from];
        let statuses = if case.each.is_empty() { vec![String::new()] } else { case.each.clone() };
        for status in &statuses {
            count += 1;
            let mut connection = Connection::new(FIRST);
            let mut chance = Scripted { fractions: case.fractions.clone().into(), wishes: 0 };
            let mut steps = before.iter().chain(&case.steps);
            let failure =
                steps.find_map(|step| run(&mut connection, step, status, &mut chance).err());
            let unused = chance.fractions.len();
            let unused = (failure.is_none() && unused > 0).then(|| format!("{unused} not used"));
            failures.extend(
                failure.or(unused).map(|failure| format!("{} ({status}): {failure}", case.name)),
            );
        }
    }
    assert_eq!(failures, [""; 0], "{} of {count} cases", failures.len());
    assert!(count >= 25, "{count} cases");
}

/// Chance as adversaries would have it.
struct Drawn {
    fractions: Vec<f64>,
    next: usize,
    ids: u64,
}

impl Chance for Drawn {
    fn fraction(&mut self) -> f64 {
        self.next += 1;
        self.fractions[self.next % self.fractions.len()]
    }

    fn request_id(&mut self) -> String {
        self.ids += 1;
        format!("wish-{}", self.ids)
    }
}

/// What a server does about an attempt.
#[derive(Clone, Debug)]
enum Answer {
    Silence,
    Fails(&'static str),
    Works,
    /// Welcome, and so long after it this end.
    Breaks(u64, &'static str),
    /// The same with a Redirect before the end.
    Moves(u64, &'static str),
}

const RETRIED: [&str; 13] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INTERNAL",
    "UNAVAILABLE",
    "UNAVAILABLE/LEASE_LOST",
    "UNAVAILABLE/SHUTTING_DOWN",
    "UNAVAILABLE/OWNER_UNREACHABLE",
    "UNAVAILABLE/ROOM_MOVED",
    "UNAVAILABLE/DIRECTORY_AWAY",
    "FAILED_PRECONDITION/WRONG_SERVER",
    "DEADLINE_EXCEEDED/IDLE_TIMEOUT",
    "RESOURCE_EXHAUSTED/OVERLOADED",
];

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::Silence),
        6 => proptest::sample::select(&RETRIED[..]).prop_map(Answer::Fails),
        2 => Just(Answer::Works),
        2 => (0_u64..20_000, proptest::sample::select(&RETRIED[..]))
            .prop_map(|(after_ms, status)| Answer::Breaks(after_ms, status)),
        2 => (0_u64..5_000, proptest::sample::select(&RETRIED[..]))
            .prop_map(|(after_ms, status)| Answer::Moves(after_ms, status)),
    ]
}

/// What was tried, and when; and when it ended.
#[derive(Debug, Default)]
struct Story {
    joins: Vec<u64>,
    opens: Vec<u64>,
    over: Option<(u64, String)>,
    /// When streams were lost after a Welcome.
    losses: Vec<u64>,
}

/// No story has more attempts: a machine in a loop is seen, and not waited for.
const ATTEMPTS_MAX: usize = 20_000;

/// A machine against a server that answers at once, one answer for each attempt, and the last one for ever.
fn play(answers: &[Answer], fractions: Vec<f64>, until_ms: u64) -> Story {
    const GRACE: Duration = Duration::from_secs(30);
    let mut connection = Connection::new(FIRST);
    let mut chance = Drawn { fractions, next: 0, ids: 0 };
    let mut story = Story::default();
    let mut now = 0;
    let mut attempt = 0;
    let mut action = connection.handle(now, Input::Begin, &mut chance);
    while now <= until_ms && attempt < ATTEMPTS_MAX {
        let answer = answers[attempt.min(answers.len() - 1)].clone();
        action = match action {
            Action::Over(ended) => {
                story.over = ended.map(|ended| (now, ended.label()));
                return story;
            }
            Action::Join { .. } | Action::Open { .. } => {
                attempt += 1;
                let is_join = matches!(action, Action::Join { .. });
                if is_join { &mut story.joins } else { &mut story.opens }.push(now);
                match answer {
                    Answer::Silence => Action::Wait,
                    Answer::Fails(status) if is_join => {
                        connection.handle(now, Input::Refused(&ended(status)), &mut chance)
                    }
                    Answer::Fails(status) => {
                        connection.handle(now, Input::Ended(&ended(status)), &mut chance)
                    }
                    _ if is_join => {
                        let expires_in = Duration::from_secs(60);
                        let joined = Input::Joined { ticket: "t", expires_in };
                        connection.handle(now, joined, &mut chance)
                    }
                    Answer::Works => return story,
                    Answer::Breaks(after_ms, status) | Answer::Moves(after_ms, status) => {
                        let welcomed = Input::Welcomed {
                            resume_token: "token",
                            grace: GRACE,
                            idle_timeout: Duration::from_secs(15),
                        };
                        connection.handle(now, welcomed, &mut chance);
                        now += after_ms;
                        story.losses.push(now);
                        if matches!(answer, Answer::Moves(..)) {
                            let expires_in = Duration::from_secs(60);
                            let redirected = Input::Redirected { ticket: "there", expires_in };
                            connection.handle(now, redirected, &mut chance);
                        }
                        connection.handle(now, Input::Ended(&ended(status)), &mut chance)
                    }
                }
            }
            Action::Wait | Action::Nothing => {
                now = connection.deadline_ms().expect("whoever waits has a deadline").max(now);
                connection.handle(now, Input::Timer, &mut chance)
            }
        };
    }
    story
}

fn fractions() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        Just(vec![0.0]),
        Just(vec![0.999_999]),
        proptest::collection::vec(0.0..1.0_f64, 1..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn attempts_are_bounded_in_every_minute(
        answers in proptest::collection::vec(answer(), 1..60),
        fractions in fractions(),
    ) {
        let story = play(&answers, fractions, 600_000);
        for (what, attempts) in [("Join", &story.joins), ("Play", &story.opens)] {
            for (index, &at) in attempts.iter().enumerate() {
                let count = attempts[index..].iter().take_while(|&&later| later < at + 60_000).count();
                prop_assert!(count <= 150, "{count} calls of {what} in the minute from {at}");
            }
        }
    }

    #[test]
    fn a_server_that_never_answers_well_again_is_given_up_in_the_end(
        mut answers in proptest::collection::vec(answer(), 0..20),
        fails in prop_oneof![
            Just(Answer::Silence),
            proptest::sample::select(&RETRIED[..]).prop_map(Answer::Fails),
        ],
        fractions in fractions(),
    ) {
        answers.retain(|answer| !matches!(answer, Answer::Works));
        answers.push(fails);
        let story = play(&answers, fractions, 3_600_000);
        let (at, label) = story.over.expect("it is over within the hour");
        prop_assert!(label.ends_with(UNREACHABLE), "{label}");
        let since = story.losses.last().copied().unwrap_or(0);
        prop_assert!(at <= since + FROZEN_MS_MAX + JOIN_MS + WELCOME_MS, "lost at {since}, over at {at}");
    }

    #[test]
    fn a_session_is_not_given_up_while_it_may_be_there(
        answers in proptest::collection::vec(answer(), 1..40),
        fractions in fractions(),
    ) {
        let story = play(&answers, fractions, 600_000);
        if let (Some((at, _)), Some(&lost)) = (&story.over, story.losses.last()) {
            // The grace period, and as long as the server may take to notice.
            prop_assert!(*at >= lost + 45_000, "lost at {lost}, over at {at}");
        }
    }
}

#[test]
fn a_thousand_players_of_a_lost_server_come_back_spread_over_a_second() {
    let mut counts = [0_u32; 10];
    for _ in 0..1000 {
        let mut connection = Connection::new(FIRST);
        connection.handle(0, Input::Begin, &mut Random);
        let joined = Input::Joined { ticket: "t", expires_in: Duration::ZERO };
        connection.handle(0, joined, &mut Random);
        let welcomed = Input::Welcomed {
            resume_token: "token",
            grace: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(15),
        };
        connection.handle(0, welcomed, &mut Random);
        let end = ended("UNAVAILABLE/SHUTTING_DOWN");
        assert_eq!(connection.handle(60_000, Input::Ended(&end), &mut Random), Action::Wait);
        let pause_ms = connection.deadline_ms().expect("it waits") - 60_000;
        counts[(pause_ms / 100) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
}
