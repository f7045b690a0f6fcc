//! What a sequence leaves behind in an executor: paged keys and values, and recurrent states.
//!
//! ```text
//! pages      one entry for every position; grows with the sequence      attention, latent attention
//! states     a fixed number of values, replaced by every token          convolutions, delta nets, state spaces
//! ```
//!
//! Layers of one shape form a group. A page holds its positions for every layer of every group, so a sequence has one
//! page table whatever its layers look like.

use super::{KvId, StateId};

/// What a sequence leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheLayout {
    /// Paged keys and values; a [`KvId`] counts through the layers of all groups, in order.
    pub pages: Vec<PageGroup>,
    /// Recurrent states, named by [`StateId`]; a [`StateSlot`](sm_tensor::StateSlot) holds one of each.
    pub states: Vec<StateLayout>,
}

/// The paged keys and values of consecutive layers of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageGroup {
    /// Layers that keep keys and values.
    pub n_layers: usize,
    /// Key and value heads per layer.
    pub n_kv_heads: usize,
    /// Values per key head.
    pub key_dim: usize,
    /// Values per value head.
    pub value_dim: usize,
}

/// A recurrent state: `f32` values that every sequence has once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateLayout {
    /// The name in the plan's text form.
    pub name: String,
    /// Values per sequence.
    pub len: usize,
}

impl PageGroup {
    /// A group of `n_layers` whose keys and values have the same width.
    pub const fn uniform(n_layers: usize, n_kv_heads: usize, head_dim: usize) -> Self {
        Self { n_layers, n_kv_heads, key_dim: head_dim, value_dim: head_dim }
    }
}

impl CacheLayout {
    /// Appends a layer: to the last group, if it looks the same, or to a new one.
    pub(crate) fn push_layer(&mut self, n_kv_heads: usize, key_dim: usize, value_dim: usize) -> KvId {
        let id = KvId(u32::try_from(self.n_kv_layers()).expect("a plan has fewer than 2^32 layers"));
        let layer = PageGroup { n_layers: 1, n_kv_heads, key_dim, value_dim };
        match self.pages.last_mut().filter(|group| PageGroup { n_layers: 1, ..**group } == layer) {
            Some(group) => group.n_layers += 1,
            None => self.pages.push(layer),
        }
        id
    }

    /// Layers with paged keys and values, in all groups.
    pub fn n_kv_layers(&self) -> usize {
        self.pages.iter().map(|group| group.n_layers).sum()
    }

    /// The group of a layer, and its place among the group's layers; `None` if the layout has no such layer.
    pub fn locate(&self, kv: KvId) -> Option<(usize, usize)> {
        let mut layer = kv.index();
        for (index, group) in self.pages.iter().enumerate() {
            if layer < group.n_layers {
                return Some((index, layer));
            }
            layer -= group.n_layers;
        }
        None
    }

    /// The shape of a layer's keys and values; `None` if the layout has no such layer.
    pub fn group(&self, kv: KvId) -> Option<&PageGroup> {
        self.locate(kv).map(|(group, _)| &self.pages[group])
    }

    /// The layout of a state; `None` if there is no such state.
    pub fn state(&self, id: StateId) -> Option<&StateLayout> {
        self.states.get(id.index())
    }

    /// Bytes of a state slot: all states of one sequence.
    pub fn state_bytes(&self) -> usize {
        let lens = self.states.iter().map(|state| state.len);
        lens.fold(0, usize::saturating_add).saturating_mul(size_of::<f32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_through_the_groups() {
        let pages =
            vec![PageGroup::uniform(2, 4, 64), PageGroup::uniform(0, 1, 8), PageGroup::uniform(1, 1, 128)];
        let layout = CacheLayout { pages, states: Vec::new() };
        assert_eq!(layout.n_kv_layers(), 3);
        let located: Vec<_> = (0..4).map(|layer| layout.locate(KvId(layer))).collect();
        assert_eq!(located, [Some((0, 0)), Some((0, 1)), Some((2, 0)), None]);
        assert_eq!(layout.group(KvId(2)).map(|group| group.key_dim), Some(128));
    }

    #[test]
    fn a_slot_holds_every_state_of_a_sequence() {
        let state = |name: &str, len| StateLayout { name: name.to_owned(), len };
        let layout = CacheLayout { pages: Vec::new(), states: vec![state("conv", 12), state("delta", 64)] };
        assert_eq!(layout.state_bytes(), 76 * 4);
        assert_eq!(layout.state(StateId(1)).map(|state| state.len), Some(64));
    }
}
