use super::*;
use proptest::prelude::*;

fn s(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A lease whose renewal at its start was answered, and which renews no more.
fn cut_off(now: Instant) -> Lease {
    let mut lease = Lease::new(now);
    assert_eq!(lease.on(Event::Beat, now), [Action::Renew]);
    assert_eq!(lease.on(Event::Renewed { sent: now }, now + s(0.1)), []);
    assert_eq!(lease.standing(), Standing::Held);
    lease
}

fn poll(asked: Instant, is_majority: bool, is_reached: bool) -> Event {
    Event::Asked(Poll { asked, is_majority, is_reached })
}

#[test]
fn it_is_renewed_each_second_and_one_at_a_time() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    assert_eq!(lease.on(Event::Beat, now + s(0.9)), []);
    assert_eq!(lease.wakes_at(), now + s(1.0));
    assert_eq!(lease.on(Event::Beat, now + s(1.0)), [Action::Renew]);
    assert_eq!(lease.on(Event::Beat, now + s(2.2)), [], "the one before is not answered");
    assert_eq!(lease.on(Event::NotRenewed, now + s(2.3)), [Action::Renew]);
    assert_eq!(lease.on(Event::NotRenewed, now + s(2.31)), [], "not at once again");
    assert!(lease.on(Event::Beat, now + s(2.57)).contains(&Action::Renew));
}

#[test]
fn alone_without_an_answer_rooms_freeze_at_5_s_and_end_at_7_s() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    lease.on(Event::Beat, now + s(1.0));
    assert_eq!(lease.on(Event::Beat, now + s(2.5)), [Action::Ask]);
    // Most answer, and one reaches the directory.
    assert_eq!(lease.on(poll(now + s(2.5), true, true), now + s(2.6)), []);
    assert_eq!(lease.on(Event::Beat, now + s(4.999)), [Action::Ask]);
    assert_eq!(lease.ticks_until(), now + s(5.0));
    assert_eq!(lease.wakes_at(), now + s(5.0));
    assert_eq!(lease.on(Event::Beat, now + s(5.0)), [Action::Freeze]);
    assert_eq!(lease.wakes_at(), now + s(7.0));
    assert_eq!(lease.on(Event::Beat, now + s(6.999)), []);
    assert_eq!(lease.on(Event::Beat, now + s(7.0)), [Action::Disown]);
    assert_eq!(lease.standing(), Standing::Lost);
    // An answer that says "away for all" comes too late: the rooms are gone.
    lease.on(poll(now + s(6.9), true, false), now + s(7.1));
    assert_eq!(lease.standing(), Standing::Lost);
    // New rooms may begin once it is renewed.
    assert_eq!(lease.on(Event::Renewed { sent: now + s(9.0) }, now + s(9.1)), [Action::Renew]);
    assert_eq!(lease.standing(), Standing::Held);
}

#[test]
fn a_renewal_in_time_thaws_what_is_still_owned() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    lease.on(Event::Beat, now + s(1.0));
    assert!(lease.on(Event::Beat, now + s(5.5)).contains(&Action::Freeze));
    let thaw = lease.on(Event::Renewed { sent: now + s(5.4) }, now + s(5.6));
    assert_eq!(thaw, [Action::ThawIfOwned, Action::Renew]);
    assert_eq!(lease.ticks_until(), now + s(10.4), "from when it was sent");
}

#[test]
fn a_renewal_that_was_sent_long_ago_thaws_nothing() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    lease.on(Event::Beat, now + s(1.0));
    lease.on(Event::Beat, now + s(5.0));
    let late = lease.on(Event::Renewed { sent: now + s(1.0) }, now + s(6.5));
    assert!(!late.contains(&Action::ThawIfOwned), "{late:?}");
    assert_eq!(lease.standing(), Standing::Frozen);
}

#[test]
fn if_the_directory_is_away_for_most_rooms_play_on() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    lease.on(Event::Beat, now + s(1.0));
    let mut at = now + s(2.5);
    for _ in 0..60 {
        lease.on(Event::Beat, at);
        assert!(lease.standing().plays());
        lease.on(poll(at, true, false), at + s(0.2));
        assert_eq!(lease.standing(), Standing::AwayForAll);
        at += s(1.0);
    }
    // It is back for another server: from now on this one is cut off alone.
    lease.on(poll(at, true, true), at + s(0.1));
    assert!(!lease.on(Event::Beat, at + s(3.9)).contains(&Action::Freeze));
    assert!(lease.on(Event::Beat, at + s(4.0)).contains(&Action::Freeze));
}

#[test]
fn without_a_majority_or_if_anybody_reaches_the_directory_rooms_do_not_play_on() {
    let now = Instant::now();
    for (is_majority, is_reached) in [(false, false), (false, true), (true, true)] {
        let mut lease = cut_off(now);
        lease.on(Event::Beat, now + s(1.0));
        lease.on(Event::Beat, now + s(4.0));
        lease.on(poll(now + s(4.0), is_majority, is_reached), now + s(4.2));
        assert_eq!(lease.ticks_until(), now + s(5.0));
        lease.on(Event::Beat, now + s(5.0));
        assert_eq!(lease.standing(), Standing::Frozen);
    }
}

#[test]
fn after_a_pause_the_time_comes_first() {
    let now = Instant::now();
    let mut lease = cut_off(now);
    lease.on(Event::Beat, now + s(1.0));
    // The answer to a renewal has waited for 20 s.
    let woken = lease.on(Event::Renewed { sent: now + s(1.0) }, now + s(21.0));
    assert_eq!(woken[0], Action::Disown);
    assert_eq!(lease.standing(), Standing::Lost);
    let mut lease = cut_off(now);
    let woken = lease.on(poll(now + s(2.5), true, false), now + s(21.0));
    assert_eq!(woken[0], Action::Disown);
    assert_eq!(lease.standing(), Standing::Lost);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u32),
    Renewed(u32),
    NotRenewed,
    Asked(u32, bool, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (1_u32..1500).prop_map(Step::Wait),
        1 => (1500_u32..20_000).prop_map(Step::Wait),
        2 => (0_u32..3000).prop_map(Step::Renewed),
        1 => Just(Step::NotRenewed),
        2 => (0_u32..1200, any::<bool>(), any::<bool>())
            .prop_map(|(ago, is_majority, is_reached)| Step::Asked(ago, is_majority, is_reached)),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever happens: rooms tick only within 5 s of a renewal that was answered, or of an answer that says that nobody
    /// can claim; and they end before anybody can claim.
    #[test]
    fn rooms_tick_only_while_it_is_safe(steps in steps()) {
        let start = Instant::now();
        let (mut now, mut lease) = (start, Lease::new(start));
        let mut safe = start;
        let mut has_rooms_frozen = false;
        let mut has_ended = false;
        for step in steps {
            let event = match step {
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms.into());
                    Event::Beat
                }
                Step::Renewed(ago) => {
                    let sent = now.checked_sub(Duration::from_millis(ago.into())).unwrap_or(now).max(start);
                    safe = safe.max(sent);
                    Event::Renewed { sent }
                }
                Step::NotRenewed => Event::NotRenewed,
                Step::Asked(ago, is_majority, is_reached) => {
                    let asked = now.checked_sub(Duration::from_millis(ago.into())).unwrap_or(now).max(start);
                    let poll = Poll { asked, is_majority, is_reached };
                    if poll.is_away_for_all() {
                        safe = safe.max(asked);
                    }
                    Event::Asked(poll)
                }
            };
            for action in lease.on(event, now) {
                match action {
                    Action::Freeze => has_rooms_frozen = true,
                    Action::Thaw | Action::ThawIfOwned => has_rooms_frozen = false,
                    Action::Disown => has_ended = true,
                    Action::Renew | Action::Ask => {}
                }
            }
            if lease.standing().plays() {
                prop_assert!(now < safe + FREEZE_AFTER);
                prop_assert!(!has_rooms_frozen || has_ended);
                has_ended = false;
                has_rooms_frozen = false;
            }
            prop_assert!(lease.ticks_until() <= safe + FREEZE_AFTER);
            prop_assert!(has_ended || now < safe + DISOWN_AFTER, "ended a second before others may claim");
        }
    }
}
