// The first token in the order of logits, a workgroup a row: the largest, the lowest id among equals, NaN before all numbers.

@group(0) @binding(0) var<storage, read> logits: array<u32>;
// [row] of (token, bits of its logit)
@group(0) @binding(1) var<storage, read_write> picked: array<vec2<u32>>;

struct Params { n_rows: u32, vocab_size: u32, stride: u32 }
var<immediate> p: Params;

// The rank of each lane's best logit, and its token.
var<workgroup> ranks: array<u32, 256>;
var<workgroup> tokens: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * p.stride;
    var best = 0u;
    var token = 0xffffffffu;
    for (var i = lane; i < p.vocab_size; i += 256u) {
        let other = rank(logits[row + i]);
        if (other > best || token == 0xffffffffu) {
            best = other;
            token = i;
        }
    }
    ranks[lane] = best;
    tokens[lane] = token;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = ranks[lane + half];
            let is_tie = other == ranks[lane] && tokens[lane + half] < tokens[lane];
            if (other > ranks[lane] || is_tie) {
                ranks[lane] = other;
                tokens[lane] = tokens[lane + half];
            }
        }
        workgroupBarrier();
    }
    if (lane == 0u) { picked[group.y] = vec2<u32>(tokens[0], logits[row + tokens[0]]); }
}
