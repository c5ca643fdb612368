//! What comes from the server: welcomes, updates, acknowledgements.

use super::{Phase, Session, Violation};
use crate::client::Correction;
use crate::client::entity_ticks::EntityTicks;
use crate::client::event::{Event, Updated};
use crate::client::ledger::{Applied, Ledger, MoveFault};
use crate::client::predict::Prediction;
use crate::client::schedule::{Schedule, TickLine};
use crate::client::tracing::{AcknowledgedMove, AppliedMove};
use fray_proto::PROTOCOL_VERSION;
use fray_proto::model::World;
use fray_proto::replica::{self, Replica};
use fray_proto::trace::{TraceContext, TracedMove};
use fray_proto::v1;
use std::time::{Duration, Instant};

/// The most sampled moves of an update that are told of; a server sends fewer.
const TRACED_MOVES_MAX: usize = 256;

impl Session {
    pub(super) fn handle_welcome(
        &mut self,
        welcome: v1::Welcome,
        now: Instant,
    ) -> Result<Event, Violation> {
        if self.phase != Phase::Opening || self.hello.is_some() {
            return Err(Violation::Unexpected("a Welcome"));
        }
        let (min, max) = (welcome.protocol_min, welcome.protocol_max);
        if !(min..=max).contains(&PROTOCOL_VERSION) {
            return Err(Violation::Protocol { min, max });
        }
        self.check_epoch(&welcome)?;
        let replica = Replica::for_welcome(&welcome).ok_or(Violation::World)?;
        let applied = Applied {
            sequence: welcome.last_applied_sequence,
            count: welcome.applied_count,
            hash: welcome.applied_hash,
        };
        let who =
            |welcome: &v1::Welcome| (welcome.player_id.clone(), welcome.player, welcome.entity);
        let resumed = match &self.welcome {
            None => false,
            Some(known) => {
                let same = welcome.resumed && who(known) == who(&welcome);
                self.counters.identity_changes += u64::from(!same);
                same
            }
        };
        let is_set_back = resumed && welcome.restored_age_ms.is_some();
        let was_moving = std::mem::take(&mut self.whereabouts.is_moving);
        let holds = resumed && !is_set_back && was_moving;
        if is_set_back {
            let (dropped, fault) = self.ledger.set_back(applied);
            self.counters.set_backs += 1;
            self.counters.set_back_moves += u64::from(dropped);
            self.note_fault(fault);
        } else if resumed {
            let outcome = self.ledger.resume(applied, now);
            self.note_fault(outcome.fault);
            self.tell(welcome.player, &outcome.traced, now);
        } else {
            self.counters.lost_moves += self.ledger.unacknowledged() as u64;
            self.ledger = Ledger::new(applied);
        }
        self.next_move = self.ledger.acknowledged() + 1;
        self.resent = self.ledger.newest();
        self.restart_prediction(replica.world(), holds);
        self.note_checksums();
        self.checksums_before = 0;
        self.replica = Some(replica);
        self.welcome = Some(welcome);
        self.phase = Phase::Open;
        Ok(Event::Welcomed { resumed })
    }

    /// A room has one owner at a time: whoever owned it before a newer one knows less, and must not be believed.
    fn check_epoch(&mut self, welcome: &v1::Welcome) -> Result<(), Violation> {
        let room_id = welcome.room.as_ref().map_or("", |room| &room.room_id);
        let (newest, epoch) = (self.whereabouts.epoch, welcome.epoch);
        if self.whereabouts.room_id == room_id && epoch < newest {
            self.counters.stale_epochs += 1;
            return Err(Violation::StaleEpoch { epoch, newest });
        }
        room_id.clone_into(&mut self.whereabouts.room_id);
        self.whereabouts.epoch = epoch;
        Ok(())
    }

    fn restart_prediction(&mut self, world: World, holds: bool) {
        let mut prediction = match self.prediction.take() {
            Some(prediction) if prediction.world() == world => prediction,
            _ => Prediction::new(world),
        };
        let held = holds.then(|| self.ledger.acknowledged());
        prediction.restart(held, self.ledger.unacknowledged_moves());
        self.prediction = Some(prediction);
    }

    pub(super) fn handle_update(
        &mut self,
        update: v1::Update,
        wire_bytes: usize,
        now: Instant,
    ) -> Event {
        self.counters.updates += 1;
        self.counters.update_bytes += wire_bytes as u64;
        self.counters.refusals += update.refusals.len() as u64;
        let (tick, base) = (update.tick, update.base_tick);
        let is_fresh = base == Some(0);
        let ticks = base.filter(|base| *base != 0).map_or(1, |base| tick.saturating_sub(base));
        // Acknowledgements count even where the update itself is of no use: they are not repeated.
        let ack = update.move_ack;
        let acknowledged = ack.map(|ack| self.handle_ack(ack, now)).unwrap_or_default();
        if let Some(private) = &update.private {
            self.private.clone_from(&private.values);
        }
        if self.awaits_keyframes && !is_fresh {
            self.counters.ignored_updates += 1;
            return Event::Ignored;
        }
        let refusals = update.refusals.clone();
        let traced_moves = self.traced_moves(&update);
        let entity_ticks = match self.apply(update) {
            Ok(entity_ticks) => entity_ticks,
            Err(error) => {
                let is_desync = error.is_desync();
                self.counters.desyncs += u64::from(is_desync);
                self.counters.broken_updates += u64::from(!is_desync);
                self.awaits_keyframes = true;
                self.resync = Some(error.resync(tick));
                self.resync_asked = None;
                return Event::Broken { tick, error };
            }
        };
        if let Some(tracer) = &self.tracer {
            for traced in traced_moves {
                let (player, received) = (self.player(), now);
                tracer.applied(&AppliedMove { traced, player, tick, received });
            }
        }
        self.awaits_keyframes = false;
        self.resync_asked = None;
        // Says at once that the first one arrived, and starts the rhythm of acknowledgements.
        self.wants_ping |= is_fresh;
        let rate_hz = self.welcome.as_ref().map_or(1, |welcome| welcome.tick_rate_hz);
        let line =
            self.line.get_or_insert_with(|| TickLine::new(Schedule::new(rate_hz, tick, now)));
        line.observe(tick, now);
        let correction = self.reconcile(tick, ack, now);
        Event::Updated(Updated {
            tick,
            ticks,
            is_fresh,
            wire_bytes,
            entity_ticks,
            acknowledged,
            correction,
            refusals,
        })
    }

    fn apply(&mut self, update: v1::Update) -> Result<EntityTicks, replica::Error> {
        let Some(replica) = &mut self.replica else {
            return Ok(EntityTicks::default());
        };
        match &mut self.counter {
            Some(counter) => counter.apply(replica, update),
            None => replica.apply(&update).map(|()| EntityTicks::default()),
        }
    }

    fn handle_ack(&mut self, ack: v1::MoveAck, now: Instant) -> Vec<Duration> {
        let applied =
            Applied { sequence: ack.input_ack, count: ack.applied_count, hash: ack.applied_hash };
        let outcome = self.ledger.acknowledge(applied, now);
        self.note_fault(outcome.fault);
        self.tell(self.player(), &outcome.traced, now);
        // A server that applied what was never sent took the numbers: go on above them.
        self.next_move = self.next_move.max(self.ledger.acknowledged() + 1);
        outcome.latencies
    }

    /// Whoever traces learns of moves that are acknowledged now.
    fn tell(&self, player: u32, traced: &[(TraceContext, u32, Instant)], now: Instant) {
        let Some(tracer) = &self.tracer else { return };
        for (context, sequence, due) in traced.iter().copied() {
            let acknowledged = now;
            tracer.acknowledged(&AcknowledgedMove { context, player, sequence, due, acknowledged });
        }
    }

    fn player(&self) -> u32 {
        self.welcome.as_ref().map_or(0, |welcome| welcome.player)
    }

    /// Other players' sampled moves in this update, for whoever traces.
    fn traced_moves(&self, update: &v1::Update) -> Vec<TracedMove> {
        if self.tracer.is_none() {
            return Vec::new();
        }
        let own = self.player();
        let all = update.cells.iter().flat_map(|cell| &cell.traced_moves);
        let others = all.filter_map(v1::TracedMove::parse).filter(|traced| traced.player != own);
        others.take(TRACED_MOVES_MAX).collect()
    }

    fn note_fault(&mut self, fault: Option<MoveFault>) {
        match fault {
            None => {}
            Some(MoveFault::Lost(count)) => self.counters.lost_moves += u64::from(count),
            Some(MoveFault::Duplicate(count)) => self.counters.duplicate_moves += u64::from(count),
            Some(MoveFault::Altered) => self.counters.altered_moves += 1,
        }
    }

    fn reconcile(
        &mut self,
        tick: u32,
        ack: Option<v1::MoveAck>,
        now: Instant,
    ) -> Option<Correction> {
        let prediction = self.prediction.as_mut()?;
        let line = self.line.as_ref()?;
        let replica = self.replica.as_ref()?;
        if let Some(ack) = ack
            && ack.input_ack > self.resent
            && let Some(sent) = self.ledger.sent_at(ack.input_ack)
        {
            let margin = Duration::from_millis(ack.arrival_margin_ms.into());
            prediction.measure(line, tick, sent, margin);
        }
        let own = replica.entity(self.welcome.as_ref()?.entity);
        let motion = own.map(|own| replica.motions().of(own.kind)).unwrap_or_default();
        let correction = prediction.reconcile(tick, own, motion, self.ledger.acknowledged());
        prediction.advance_to(line, now);
        correction
    }

    pub(super) fn note_checksums(&mut self) {
        let checked = self.replica.as_ref().map_or(0, Replica::checksums_checked);
        self.counters.checksums += checked - self.checksums_before;
        self.checksums_before = checked;
    }
}
