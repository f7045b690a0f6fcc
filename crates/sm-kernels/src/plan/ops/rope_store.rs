//! Takes q, k and v apart, rotates q and k, and stores k and v in the pages.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, ensure, product, rows_are};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::{BufferId, KvId, PageGroup, Plan, QueryScale, Read, RopeId, Rows, VectorId, Write};

/// Takes q, k and v apart, normalises and rotates q and k, writes q out and k and v into the pages.
///
/// The length of a norm's weights says what is normalised together: `[key_dim]` each head on its own, with weights that all
/// heads share (Qwen3); `[n_heads * key_dim]` all heads of a position (OLMo 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeStore {
    /// `[tokens, n_heads * key_dim + n_kv_heads * (key_dim + value_dim)]`: q heads, then k heads, then v heads.
    pub qkv: BufferId,
    /// The layer's keys and values in the pages.
    pub kv: KvId,
    /// The rotation; none for learned positions.
    pub rope: Option<RopeId>,
    /// `[key_dim]` or `[n_heads * key_dim]`: RMS norm of q.
    pub q_norm: Option<VectorId>,
    /// `[key_dim]` or `[n_kv_heads * key_dim]`: the same for k.
    pub k_norm: Option<VectorId>,
    /// Epsilon of the two norms.
    pub norm_eps: f32,
    /// When the two norms are applied.
    pub norm_order: NormOrder,
    /// A factor on q, after all else.
    pub q_scale: Option<QueryScale>,
    /// `[tokens, n_heads * key_dim]`.
    pub q: BufferId,
}

/// When heads are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormOrder {
    /// Before the rotation.
    #[default]
    BeforeRope,
    /// After the rotation, each head on its own (HunYuan).
    AfterRope,
}

impl Operation for RopeStore {
    fn name(&self) -> &'static str {
        "rope_store"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::values(self.qkv)]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.q)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let PageGroup { n_kv_heads, key_dim, value_dim, .. } = checker.kv(self.kv)?;
        let qkv = checker.read(self.qkv)?;
        let q = checker.buffer(self.q)?;
        let kv_width = product("k and v", n_kv_heads, key_dim.saturating_add(value_dim))?;
        ensure(q.width.is_multiple_of(key_dim), || {
            format!("q is {} wide, no multiple of the head dimension {key_dim}", q.width)
        })?;
        ensure(qkv.width.checked_sub(kv_width) == Some(q.width), || {
            format!(
                "buffer {:?} is {} wide, not q's {} and {kv_width} for k and v",
                qkv.name, qkv.width, q.width
            )
        })?;
        if let Some(rope) = self.rope {
            checker.rope(rope, key_dim)?;
        }
        for (norm, all_heads) in [(self.q_norm, q.width), (self.k_norm, n_kv_heads * key_dim)] {
            let Some(norm) = norm else { continue };
            match self.norm_order {
                NormOrder::BeforeRope => checker.head_norm(norm, key_dim, all_heads)?,
                NormOrder::AfterRope => checker.vector("head norm", norm, key_dim)?,
            }
            let eps = self.norm_eps;
            ensure(eps.is_finite() && 0.0 <= eps, || format!("norm_eps is {eps}"))?;
        }
        if let Some(QueryScale { beta, interval }) = self.q_scale {
            ensure(beta.is_finite() && 0.0 <= beta, || format!("beta of the query scale is {beta}"))?;
            ensure(0 < interval, || "the interval of the query scale is 0".to_owned())?;
        }
        rows_are(qkv, Rows::Tokens)?;
        rows_are(q, Rows::Tokens)?;
        checker.store_kv(self.kv);
        Ok(())
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}) layer {}", plan.buffer(self.qkv).name, self.kv.index())?;
        if let Some(rope) = self.rope {
            write!(f, ", rope {}", rope.index())?;
        }
        for (name, norm) in [("q", self.q_norm), ("k", self.k_norm)] {
            if let Some(norm) = norm {
                write!(f, ", {name} norm {} eps {:?}", plan.vector(norm).name, self.norm_eps)?;
            }
        }
        if self.norm_order == NormOrder::AfterRope {
            f.write_str(", norms after the rope")?;
        }
        match self.q_scale {
            Some(QueryScale { beta, interval }) => write!(f, ", q scale {beta} per {interval} positions"),
            None => Ok(()),
        }
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { qkv, kv, rope, q_norm, k_norm, norm_eps: _, norm_order: _, q_scale: _, q } = self;
        visitor.buffer(qkv);
        visitor.kv(kv);
        rope.iter_mut().for_each(|id| visitor.rope(id));
        q_norm.iter_mut().chain(k_norm).for_each(|id| visitor.vector(id));
        visitor.buffer(q);
    }
}
