//! Causal attention over the pages.

use std::fmt::{self, Formatter};

use crate::plan::check::{Check, Checker, ensure, positive, product, rows_are, same};
use crate::plan::operation::{IdVisitor, Operation};
use crate::plan::work::{StepWork, Work};
use crate::plan::{BufferId, KvId, PageGroup, Plan, Read, Rows, Write};

/// Causal attention over the pages of a layer.
///
/// ```text
/// score[j] = soft_cap(scale * q · key[j])        for each position j that the row sees
/// out      = sum_j softmax(score)[j] * value[j]
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// `[tokens, n_heads * key_dim]`.
    pub q: BufferId,
    /// The layer's keys and values in the pages.
    pub kv: KvId,
    /// Query heads; a multiple of the layer's key heads.
    pub n_heads: usize,
    /// Factor on the scores, usually `1 / sqrt(key_dim)`.
    pub scale: f32,
    /// A position sees itself and the `window - 1` before it; all before it if none.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`, before the mask.
    pub soft_cap: Option<f32>,
    /// `[tokens, n_heads * value_dim]`.
    pub out: BufferId,
}

impl Operation for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::values(self.q)]
    }

    fn writes(&self) -> Vec<Write> {
        vec![Write::new(self.out)]
    }

    fn check(&self, checker: &mut Checker<'_>) -> Check {
        let PageGroup { n_kv_heads, key_dim, value_dim, .. } = checker.kv(self.kv)?;
        ensure(checker.is_stored(self.kv), || {
            format!("the pages of layer {} are read before they are written", self.kv.index())
        })?;
        let q = checker.read(self.q)?;
        let out = checker.buffer(self.out)?;
        let n_heads = self.n_heads;
        ensure(0 < n_heads && n_heads.is_multiple_of(n_kv_heads), || {
            format!("{n_heads} query heads are no multiple of {n_kv_heads} key heads")
        })?;
        same("the width of q", q.width, product("the query heads", n_heads, key_dim)?)?;
        same("the width of the output", out.width, product("the value heads", n_heads, value_dim)?)?;
        ensure(self.scale.is_finite(), || format!("the scale is {}", self.scale))?;
        ensure(self.window != Some(0), || "the window is 0".to_owned())?;
        if let Some(cap) = self.soft_cap {
            positive("the soft cap", cap)?;
        }
        rows_are(q, Rows::Tokens)?;
        rows_are(out, Rows::Tokens)
    }

    fn text(&self, plan: &Plan, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "({}) layer {}", plan.buffer(self.q).name, self.kv.index())?;
        write!(f, ", {} heads, scale {}", self.n_heads, self.scale)?;
        if let Some(window) = self.window {
            write!(f, ", window {window}")?;
        }
        self.soft_cap.map_or(Ok(()), |cap| write!(f, ", soft cap {cap}"))
    }

    fn work(&self, step: &StepWork<'_>) -> Work {
        let Some(group) = step.plan.cache.group(self.kv) else { return Work::default() };
        let dims = [group.key_dim, group.value_dim];
        let head_bytes = dims.map(|dim| step.kv_dtype.head_bytes(dim) as u64).iter().sum::<u64>();
        let head_len = dims.map(|dim| dim as u64).iter().sum::<u64>();
        let window = self.window.map_or(u64::MAX, |window| window as u64);
        let mut work = Work::default();
        for span in step.batch.spans {
            let start = u64::from(span.start);
            let end = u64::from(span.start) + u64::from(span.n_rows);
            let n_seen: u64 = (start..end).map(|position| (position + 1).min(window)).sum();
            // The first row sees the furthest back.
            let n_positions = end - (start + 1).saturating_sub(window);
            work.read_bytes += n_positions * group.n_kv_heads as u64 * head_bytes;
            work.float_ops += 2 * n_seen * self.n_heads as u64 * head_len;
        }
        work
    }

    fn visit_ids(&mut self, visitor: &mut dyn IdVisitor) {
        let Self { q, kv, n_heads: _, scale: _, window: _, soft_cap: _, out } = self;
        visitor.buffer(q);
        visitor.kv(kv);
        visitor.buffer(out);
    }
}
