//! When each buffer is in use, and where it can lie.

use super::Plan;

/// The ops between which a buffer holds values that are still needed, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// The op that first writes it.
    pub(crate) first: usize,
    /// The last op that reads or writes it; the number of ops if it outlives them.
    pub(crate) last: usize,
}

impl Lifetime {
    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The lifetime of each buffer of a valid plan; none if no op uses it. The results outlive the ops.
pub(crate) fn lifetimes(plan: &Plan) -> Vec<Option<Lifetime>> {
    let mut lifetimes: Vec<Option<Lifetime>> = vec![None; plan.buffers.len()];
    let mut touch = |buffer: usize, at: usize| {
        lifetimes[buffer].get_or_insert(Lifetime { first: at, last: at }).last = at;
    };
    for (index, op) in plan.ops.iter().enumerate() {
        op.reads().iter().for_each(|read| touch(read.buffer.index(), index));
        op.writes().iter().for_each(|write| touch(write.buffer.index(), index));
    }
    for result in plan.hidden.into_iter().chain(plan.logits) {
        touch(result.index(), plan.ops.len());
    }
    lifetimes
}

/// Where buffers lie in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Offset of each buffer; 0 for those never used.
    pub(crate) offsets: Vec<usize>,
    /// Size of the allocation.
    pub(crate) len: usize,
}

/// Places buffers of these sizes so that those in use at the same time do not overlap.
///
/// The largest goes first, each to the lowest offset that is free for its lifetime.
pub(crate) fn place(lifetimes: &[Option<Lifetime>], sizes: &[usize]) -> Placement {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|&buffer| lifetimes[buffer].is_some()).collect();
    order.sort_by_key(|&buffer| std::cmp::Reverse(sizes[buffer]));
    let mut offsets = vec![0; sizes.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut len = 0;
    for buffer in order {
        let in_use =
            |other: usize| lifetimes[other].zip(lifetimes[buffer]).is_some_and(|(a, b)| a.overlaps(b));
        let mut offset = 0;
        // `placed` is in order of offset, so the first gap that is long enough is the lowest.
        for &other in placed.iter().filter(|&&other| in_use(other)) {
            if offset + sizes[buffer] <= offsets[other] {
                break;
            }
            offset = offset.max(offsets[other] + sizes[other]);
        }
        offsets[buffer] = offset;
        len = len.max(offset + sizes[buffer]);
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, buffer);
    }
    Placement { offsets, len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buffers_used_one_after_the_other_share_their_place() {
        let alive = |first, last| Some(Lifetime { first, last });
        let placement = place(&[alive(0, 1), alive(1, 2), alive(2, 3), None], &[8, 8, 8, 100]);
        assert_eq!(placement, Placement { offsets: vec![0, 8, 0, 0], len: 16 });
    }

    proptest! {
        #[test]
        fn buffers_in_use_at_the_same_time_never_overlap(
            buffers in prop::collection::vec((0_usize..20, 0_usize..6, 1_usize..50), 1..20)
        ) {
            let lifetimes: Vec<_> =
                buffers.iter().map(|&(first, n, _)| Some(Lifetime { first, last: first + n })).collect();
            let sizes: Vec<_> = buffers.iter().map(|buffer| buffer.2).collect();
            let placement = place(&lifetimes, &sizes);
            for a in 0..sizes.len() {
                let start = placement.offsets[a];
                let end = placement.offsets[a] + sizes[a];
                prop_assert!(end <= placement.len);
                for b in 0..a {
                    let apart = end <= placement.offsets[b] || placement.offsets[b] + sizes[b] <= start;
                    let alive_together = buffers[a].0 <= buffers[b].0 + buffers[b].1
                        && buffers[b].0 <= buffers[a].0 + buffers[a].1;
                    prop_assert!(apart || !alive_together, "buffers {a} and {b}: {placement:?}");
                }
            }
        }
    }
}
