//! The text form of a plan: stable, one line per declaration and operation.
//!
//! ```text
//! plan: 2 layers, 1 kv heads of 64, context 128, vocabulary 512
//! buffer x: tokens x 64
//! matrix qkv: 192 x 64 = 64 q8_0 + 64 q8_0 + 64 q8_0
//!    0 x = embed(table)
//!    1 h = norm rms(x, attn_norm) eps 1e-5
//!    2 qkv = linear(h, qkv)
//! ```

use std::fmt::{self, Display, Formatter};

use super::{CacheLayout, MatrixDecl, Op, PageGroup, Plan, RopePairs, Rows, Store};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "plan: {}", self.cache)?;
        writeln!(f, "context {}, vocabulary {}", self.context_len, self.vocab_size())?;
        for state in &self.cache.states {
            writeln!(f, "state {}: {} f32", state.name, state.len)?;
        }
        for buffer in &self.buffers {
            writeln!(f, "buffer {}: {} x {}", buffer.name, buffer.rows, buffer.width)?;
        }
        for matrix in &self.matrices {
            writeln!(f, "matrix {matrix}")?;
        }
        for vector in &self.vectors {
            writeln!(f, "vector {}: {}", vector.name, vector.len)?;
        }
        for (index, rope) in self.ropes.iter().enumerate() {
            let pairs = match rope.pairs {
                RopePairs::Halves => "halves",
                RopePairs::Adjacent => "adjacent",
            };
            let ends = |list: &[f32]| [list.first(), list.last()].map(|end| end.copied().unwrap_or(0.0));
            let [first, last] = ends(&rope.inv_freq);
            write!(f, "rope {index}: {} pairs, {pairs}", rope.inv_freq.len())?;
            write!(f, ", frequencies {first:?}..{last:?}, scale {}", rope.scale)?;
            if let Some(extended) = &rope.extended {
                let [first, last] = ends(&extended.inv_freq);
                write!(f, ", beyond {} positions {first:?}..{last:?}", extended.beyond)?;
            }
            writeln!(f)?;
        }
        for (index, op) in self.ops.iter().enumerate() {
            writeln!(f, "{index:4} {}", Line { plan: self, op })?;
        }
        let hidden = self.hidden.map(|hidden| ("hidden", hidden));
        let results = hidden.into_iter().chain(self.logits.map(|logits| ("logits", logits)));
        let lines: Vec<_> = results.map(|(what, id)| format!("{what} {}", self.buffer(id).name)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Display for CacheLayout {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.pages.iter().try_for_each(|group| write!(f, "{group}, "))
    }
}

impl Display for PageGroup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { n_layers, n_kv_heads, key_dim, value_dim } = self;
        write!(f, "{n_layers} layers, {n_kv_heads} kv heads of {key_dim}")?;
        if key_dim == value_dim { Ok(()) } else { write!(f, " and {value_dim}") }
    }
}

/// One operation with the names that its plan gives.
struct Line<'p> {
    plan: &'p Plan,
    op: &'p Op,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { plan, op } = self;
        let writes = op.writes();
        let names: Vec<&str> = writes.iter().map(|write| plan.buffer(write.buffer).name.as_str()).collect();
        let is_added = writes.iter().any(|write| write.store == Store::Add);
        let sign = if is_added { "+=" } else { "=" };
        write!(f, "{} {sign} {}", names.join(", "), op.name())?;
        op.operation().text(plan, f)
    }
}

impl Display for MatrixDecl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} x {}", self.name, self.rows(), self.cols)?;
        if let [part] = &self.parts[..] {
            return write!(f, " {}", part.dtype);
        }
        for (index, part) in self.parts.iter().enumerate() {
            write!(f, " {} {} {}", if index == 0 { "=" } else { "+" }, part.rows, part.dtype)?;
        }
        Ok(())
    }
}

impl Display for Rows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokens => "tokens",
            Self::Outputs => "outputs",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[test]
    fn the_text_form_is_stable() {
        let expected = "\
plan: 2 layers, 2 kv heads of 16, context 600, vocabulary 40
buffer x: tokens x 64
buffer h: tokens x 64
buffer ffn: tokens x 96
buffer qkv: tokens x 128
buffer q: tokens x 64
buffer attn: tokens x 64
buffer out: outputs x 64
buffer out_norm: outputs x 64
buffer logits: outputs x 40
matrix table: 40 x 64 f32
matrix qkv.0: 128 x 64 = 64 q8_0 + 32 q8_0 + 32 q8_0
matrix o.0: 64 x 64 q8_0
matrix gate.0: 96 x 64 q8_0
matrix up.0: 96 x 64 q8_0
matrix down.0: 64 x 96 q8_0
matrix qkv.1: 128 x 64 = 64 q8_0 + 32 q8_0 + 32 q8_0
matrix o.1: 64 x 64 q8_0
matrix gate.1: 96 x 64 q8_0
matrix up.1: 96 x 64 q8_0
matrix down.1: 64 x 96 q8_0
vector norm: 64
rope 0: 8 pairs, halves, frequencies 1.0..0.00031622776, scale 1
   0 x = embed(table)
   1 h = norm rms(x, norm) eps 1e-5
   2 qkv = linear(h, qkv.0)
   3 q = rope_store(qkv) layer 0, rope 0
   4 attn = attention(q) layer 0, 4 heads, scale 0.25
   5 x += linear(attn, o.0)
   6 h = norm rms(x, norm) eps 1e-5
   7 ffn = gated_linear(h, gate.0, up.0) silu
   8 x += linear(ffn, down.0)
   9 h = norm rms(x, norm) eps 1e-5
  10 qkv = linear(h, qkv.1)
  11 q = rope_store(qkv) layer 1, rope 0
  12 attn = attention(q) layer 1, 4 heads, scale 0.25, window 20
  13 x += linear(attn, o.1)
  14 h = norm rms(x, norm) eps 1e-5
  15 ffn = gated_linear(h, gate.1, up.1) silu
  16 x += linear(ffn, down.1)
  17 out = gather_rows(x)
  18 out_norm = norm rms(out, norm) eps 1e-5
  19 logits = linear(out_norm, table)
hidden out_norm
logits logits";
        assert_eq!(testing::decoder(sm_tensor::DType::Q8_0).to_string(), expected);
    }
}
