//! Makes a step: rows for those who run, pages for the rows, and slots for those who wait.

use std::cmp::Reverse;

use sm_cache::{CacheError, KvCache};

use crate::policy::{BatchInfo, Joining, Waiting};
use crate::queue::{Ordering, level};
use crate::scheduler::{Scheduler, shares};
use crate::sequence::{EndReason, Sequence, SequenceId};
use crate::step::Step;

/// Tokens that two requests must have in common for one to wait until the other has computed them.
const MIN_COMMON_TOKENS: usize = 32;
/// Requests beyond the free slots that are considered, for some may have to wait for a prefix.
pub(crate) const LOOK_AHEAD: usize = 8;

/// What is left of a step.
#[derive(Clone, Copy, Debug)]
struct Room {
    tokens: usize,
    outputs: usize,
    /// Rows that prompts may have, for decoding to stay in time.
    prefill: usize,
}

impl Room {
    fn take(&mut self, n_rows: usize, n_outputs: usize) {
        self.tokens -= n_rows;
        self.outputs -= n_outputs;
    }
}

impl Scheduler {
    /// What to compute next; `None` if there is nothing to do before [`Scheduler::wake_at_us`]. What is late ends first.
    ///
    /// Each step must be followed by [`Scheduler::commit`] or [`Scheduler::abandon`].
    pub fn next_step(&mut self, now_us: u64, cache: &mut KvCache) -> Option<&Step> {
        self.end_where(cache, |sequence| {
            sequence.deadline_us.is_some_and(|deadline| deadline <= now_us).then_some(EndReason::TimedOut)
        });
        self.end_unfit(cache);
        let mut room = self.assign_rows(cache);
        let n_preempted = self.stats.preempted;
        self.step.clear();
        self.reserve_rows(cache);
        if self.stats.preempted == n_preempted {
            self.admit(now_us, &mut room, cache);
        }
        self.emit(cache)
    }

    /// Ends those who wait for more pages than there may be: only after the limit was lowered, and they would wait forever.
    fn end_unfit(&mut self, cache: &mut KvCache) {
        let unfit = |sequence: &Sequence, cache: &KvCache| {
            let len = sequence.max_len.min(sequence.token_ids.len() + 1);
            Some((sequence.id, cache.check_fits(cache.pages_for(len)).err()?))
        };
        while let Some((id, error)) = self.queue.waiting().iter().find_map(|sequence| unfit(sequence, cache))
        {
            self.end_where(cache, |sequence| (sequence.id == id).then(|| EndReason::Cache(error.clone())));
        }
    }

    /// As [`Scheduler::next_step`] for one running sequence alone: after a step that failed, this finds the culprit.
    pub fn next_step_of(&mut self, id: SequenceId, cache: &mut KvCache) -> Option<&Step> {
        self.assign_rows(cache);
        for sequence in &mut self.running {
            let n_drafts = if sequence.n_choices == 1 { sequence.drafts.len() } else { 0 };
            sequence.n_rows = if sequence.id != id {
                0
            } else if sequence.remaining(cache) == 1 {
                (1 + n_drafts).min(self.limits.max_tokens).min(self.limits.max_outputs)
            } else {
                let most = self.limits.max_tokens.min(self.limits.max_outputs);
                sequence.remaining(cache).min(most)
            };
        }
        self.step.clear();
        self.reserve_rows(cache);
        self.emit(cache)
    }

    fn emit(&mut self, cache: &KvCache) -> Option<&Step> {
        let number = self.stats.steps + 1;
        let is_prefill = |s: &Sequence| s.n_rows > 0 && s.remaining(cache) > 1;
        if self.policy.max_decoding() < usize::MAX && self.running.iter().any(is_prefill) {
            let decoding = self.running.iter_mut().filter(|sequence| sequence.remaining(cache) == 1);
            decoding.for_each(|sequence| sequence.n_rows = 0);
        }
        for sequence in self.running.iter_mut().filter(|sequence| sequence.n_rows > 0) {
            self.step.push(sequence, cache);
            sequence.last_step = number;
        }
        if self.step.parts.is_empty() {
            return None;
        }
        self.stats.steps = number;
        self.stats.rows += self.step.n_rows() as u64;
        self.stats.spans += self.step.parts.len() as u64;
        let drafts = self.step.parts.iter().map(|part| part.n_sampled.saturating_sub(1) as u64);
        self.stats.draft_rows += drafts.sum::<u64>();
        Some(&self.step)
    }

    /// Gives rows to those who run: decoding first, then chunks of prompts, the best ranked first.
    fn assign_rows(&mut self, cache: &KvCache) -> Room {
        let tokens = self.config.max_step_tokens.min(self.limits.max_tokens);
        let mut room = Room { tokens, outputs: self.limits.max_outputs, prefill: tokens };
        let has_prefill = self.running.iter().any(|sequence| sequence.remaining(cache) > 1);
        let max_decoding = match self.policy.max_decoding() {
            usize::MAX => usize::MAX,
            // The policy keeps prompts and decoding apart.
            _ if has_prefill => 0,
            max => max,
        };
        self.running.iter_mut().for_each(|sequence| sequence.n_rows = 0);
        if max_decoding < self.running.len() {
            self.assign_longest_waiting(max_decoding, &mut room, cache);
        } else {
            assign_decoding(&mut self.running, &mut room, cache);
            // Drafts are a guess: they leave half of the step to prompts, where there are any.
            let has_prompts = has_prefill || self.queue.len() > 0;
            let max_drafts = if has_prompts { room.tokens / 2 } else { room.tokens };
            assign_drafts(&mut self.running, &mut room, max_drafts);
        }
        room.prefill = self.prefill_rows(&room, cache);
        for sequence in &mut self.running {
            if sequence.remaining(cache) > 1 {
                assign_chunk(sequence, &mut room, self.config.max_chunk_tokens, cache);
            }
        }
        room
    }

    /// One row for each of `n` decoding sequences, those whose last step is longest ago.
    fn assign_longest_waiting(&mut self, n: usize, room: &mut Room, cache: &KvCache) {
        for _ in 0..n {
            let decoding = self.running.iter_mut().filter(|s| s.n_rows == 0 && s.remaining(cache) == 1);
            if let Some(sequence) = decoding.min_by_key(|sequence| sequence.last_step) {
                sequence.n_rows = 1;
                room.take(1, 1);
            }
        }
    }

    /// Rows of prompts that may join the decoding rows in this step. Without a target it is what the step has left.
    fn prefill_rows(&self, room: &Room, cache: &KvCache) -> usize {
        let decoding = self.running.iter().filter(|sequence| sequence.n_rows > 0);
        let (n_rows, context) = decoding.fold((0, 0), |(n_rows, context), sequence| {
            (n_rows + sequence.n_rows, context + sequence.n_rows * sequence.token_ids.len())
        });
        match self.config.target_itl_us {
            Some(target_us) if n_rows > 0 => {
                let prompts = self.running.iter().filter(|sequence| sequence.n_rows == 0);
                let start = prompts.map(|sequence| sequence.computed(cache)).max().unwrap_or(0);
                self.cost.chunk_within(target_us, (n_rows, context), start, room.tokens)
            }
            _ => room.tokens,
        }
    }

    /// Reserves pages for the rows, the best ranked first; where there are none, the worst ranked gives way.
    fn reserve_rows(&mut self, cache: &mut KvCache) {
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &self.running[index];
            let Some(lease) = sequence.lease.as_ref().filter(|_| sequence.n_rows > 0) else {
                index += 1;
                continue;
            };
            let len = cache.computed(lease) + sequence.n_rows;
            match cache.reserve(lease, len, &mut self.step.copies) {
                Ok(()) => index += 1,
                Err(CacheError::OutOfPages { .. }) if !sequence.drafts.is_empty() => {
                    // Nobody gives way to a guess.
                    let sequence = &mut self.running[index];
                    sequence.n_rows = sequence.n_rows.min(sequence.remaining(cache));
                    sequence.drafts.clear();
                }
                Err(CacheError::OutOfPages { .. }) if self.running.len() == 1 => {
                    // Somebody else holds the pages; the last runner waits for them rather than give up its own.
                    self.running[index].n_rows = 0;
                    index += 1;
                }
                Err(CacheError::OutOfPages { .. }) => self.preempt_last(cache),
                Err(error) => {
                    let sequence = self.running.remove(index);
                    self.end(sequence, EndReason::Cache(error), cache);
                }
            }
        }
    }

    /// Admits those who wait, as the policy says.
    fn admit(&mut self, now_us: u64, room: &mut Room, cache: &mut KvCache) {
        let is_idle = self.running.is_empty();
        let n_slots = self.current_batch_size().saturating_sub(self.n_running());
        let joins = self.policy.joining() == Joining::AnyStep;
        let may_join = if is_idle {
            self.due_us().is_some_and(|due| due <= now_us)
        } else {
            joins && n_slots > 0 && room.tokens.min(room.prefill) > 0
        };
        if !may_join || self.queue.len() == 0 {
            return;
        }
        cache.collect();
        self.choose(now_us, n_slots, joins, cache);
        let mut batch = BatchInfo::default();
        let chosen = std::mem::take(&mut self.chosen);
        let mut order = std::mem::take(&mut self.order);
        let mut free = n_slots;
        for choice in chosen.iter().copied() {
            let (queue_index, waiting) = (order[choice], self.lens[choice]);
            let is_full = waiting.n_choices > free && !self.running.is_empty();
            if is_full || (joins && room.tokens.min(room.prefill) == 0) {
                break;
            }
            if joins && self.waits_for_prefix(queue_index, cache) {
                self.stats.prefix_waits += 1;
                continue;
            }
            let mut sequence = self.queue.swap_remove(queue_index);
            let is_first = sequence.n_lost.is_none();
            // The last request has moved to this index.
            let moved = self.queue.len();
            order.iter_mut().filter(|index| **index == moved).for_each(|index| *index = queue_index);
            if !self.lease(&mut sequence, cache) {
                self.queue.push(sequence);
                break;
            }
            self.start(sequence, room, now_us, cache);
            free = free.saturating_sub(waiting.n_choices);
            if is_first {
                batch.add(&waiting);
            }
        }
        if batch.n_sequences > 0 {
            self.last_batch = batch;
            self.stats.count_batch(&batch);
        }
        (self.chosen, self.order) = (chosen, order);
    }

    /// Fills `order` with waiting requests, `lens` with what the policy sees of them, and `chosen` with its choice.
    fn choose(&mut self, now_us: u64, n_slots: usize, joins: bool, cache: &KvCache) {
        let limit = if joins { n_slots + LOOK_AHEAD } else { usize::MAX };
        let by = Ordering { config: &self.config, fairness: &self.fairness, cache, now_us };
        self.queue.order(&by, limit, &mut self.order);
        self.lens.clear();
        self.lens.extend(self.order.iter().map(|index| {
            let sequence = &self.queue.waiting()[*index];
            let Sequence { n_prompt: len, max_len, n_choices, .. } = *sequence;
            Waiting { len, max_len, n_choices: n_choices as usize }
        }));
        self.chosen.clear();
        // Who waits for a prefix leaves its slot to the next, so more are chosen than there are slots.
        let n_slots = if joins { n_slots + LOOK_AHEAD } else { n_slots };
        self.policy.select(&self.lens, n_slots, &mut self.chosen);
        if self.chosen.is_empty() && !self.lens.is_empty() {
            // Only after limits were lowered: what was accepted is served.
            self.chosen.push(0);
        }
    }

    /// Whether a running sequence is about to compute what a waiting one would compute next.
    fn waits_for_prefix(&self, queue_index: usize, cache: &KvCache) -> bool {
        let waiting = &self.queue.waiting()[queue_index];
        if waiting.n_scored.is_some() || !shares(cache) {
            return false;
        }
        let page_len = cache.page_len();
        let cached = cache.shared_len(&waiting.namespace, &waiting.token_ids) / page_len;
        let last = cached + MIN_COMMON_TOKENS.div_ceil(page_len) - 1;
        let Some(key) = waiting.page_keys.get(last) else {
            return false;
        };
        // The key of a page stands for all tokens before it too.
        let computes =
            |s: &Sequence| s.page_keys.get(last) == Some(key) && s.computed(cache) <= cached * page_len;
        self.running.iter().any(computes)
    }

    /// Leases pages for a sequence, if those who run and itself will have enough for a while.
    fn lease(&self, sequence: &mut Sequence, cache: &mut KvCache) -> bool {
        sequence.take_lease(cache);
        let held = sequence.lease.as_ref().map_or(0, |lease| cache.pages(lease).len());
        let needed = cache.pages_for(sequence.max_len.min(sequence.token_ids.len() + 1)) - held;
        let fits = if self.running.is_empty() {
            needed <= cache.n_available()
        } else {
            // One page for each that runs, for it may need its next one at any step.
            cache.admits(needed + self.running.len())
        };
        if !fits {
            sequence.unlease(cache);
        }
        fits
    }

    /// Makes a leased sequence run, in this step if there is room.
    fn start(&mut self, mut sequence: Sequence, room: &mut Room, now_us: u64, cache: &mut KvCache) {
        match sequence.n_lost.replace(0) {
            None => {
                self.stats.admitted += 1;
                self.stats.waited_us += now_us.saturating_sub(sequence.arrival_us);
                self.fairness.charge(sequence.key, self.config.prompt_service(sequence.n_prompt));
            }
            Some(n_lost) => {
                self.stats.recomputed_tokens += n_lost.saturating_sub(sequence.computed(cache)) as u64;
            }
        }
        // It runs at the level that it has risen to, so that waiting is not in vain.
        sequence.level = level(&sequence, now_us, self.config.priority_boost_after_us);
        assign_chunk(&mut sequence, room, self.config.max_chunk_tokens, cache);
        if let Some(lease) = &sequence.lease {
            let len = cache.computed(lease) + sequence.n_rows;
            if sequence.n_rows > 0 && cache.reserve(lease, len, &mut self.step.copies).is_err() {
                sequence.n_rows = 0;
            }
        }
        let rank = |sequence: &Sequence| (Reverse(sequence.level), sequence.arrival_us, sequence.id);
        let index = self.running.partition_point(|other| rank(other) < rank(&sequence));
        self.running.insert(index, sequence);
        let n_pages = |s: &Sequence| cache.pages_for(s.max_len) * s.n_choices as usize;
        self.step.reserve_pages(self.running.iter().map(n_pages).sum());
    }
}

/// One row for each sequence that lacks one, as far as there is room.
fn assign_decoding(running: &mut [Sequence], room: &mut Room, cache: &KvCache) {
    for sequence in running.iter_mut() {
        if sequence.remaining(cache) == 1 && room.tokens > 0 && room.outputs > 0 {
            sequence.n_rows = 1;
            room.take(1, 1);
        }
    }
}

/// Rows for the drafts of decoding sequences, `max_drafts` together.
fn assign_drafts(running: &mut [Sequence], room: &mut Room, mut max_drafts: usize) {
    for sequence in running.iter_mut().filter(|sequence| sequence.n_rows > 0 && sequence.n_choices == 1) {
        let n_drafts = sequence.drafts.len().min(max_drafts).min(room.outputs);
        sequence.n_rows += n_drafts;
        room.take(n_drafts, n_drafts);
        max_drafts -= n_drafts;
    }
}

/// Rows for the next chunk of a prompt.
fn assign_chunk(sequence: &mut Sequence, room: &mut Room, max_chunk: usize, cache: &KvCache) {
    let (start, remaining) = (sequence.computed(cache), sequence.remaining(cache));
    let max_chunk = if max_chunk == 0 { usize::MAX } else { max_chunk };
    let mut n_rows = remaining.min(room.tokens).min(room.prefill).min(max_chunk);
    let n_outputs = |n_rows| (start..start + n_rows).filter(|position| sequence.is_output(*position)).count();
    if n_outputs(n_rows) > room.outputs {
        // The longest chunk whose logits fit: outputs are rare unless the whole prompt's are wanted.
        n_rows = (0..n_rows).rev().find(|n_rows| n_outputs(*n_rows) <= room.outputs).unwrap_or(0);
    }
    room.take(n_rows, n_outputs(n_rows));
    room.prefill -= n_rows;
    sequence.n_rows = n_rows;
}
