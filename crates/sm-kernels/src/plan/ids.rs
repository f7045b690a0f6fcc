//! The ids by which operations name the declarations of their plan.

macro_rules! index_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// The position in the plan's list.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index_type!(/** An activation buffer of a plan. */ BufferId);
index_type!(/** A weight matrix of a plan. */ MatrixId);
index_type!(/** A weight vector of a plan. */ VectorId);
index_type!(/** A rotary embedding of a plan. */ RopeId);
index_type!(
    /** The paged keys and values of one layer, counted through all groups of a [`CacheLayout`](super::CacheLayout). */
    KvId
);
index_type!(/** A recurrent state of a sequence, by its place in [`CacheLayout::states`](super::CacheLayout). */ StateId);
