// The first tokens in the order of logits, and the sum of all exponentials, a workgroup a row.
//
// The K-th logit is found digit by digit: each pass counts the logits by eight bits of their rank, among those that agree with the
// digits found before. What ranks higher is among the first K in any case. Of equals of the K-th, the lowest tokens are: where there are
// more of them than places, the last of these is found in the same way.

@group(0) @binding(0) var<storage, read> logits: array<u32>;
// [row] of MAX_TOP + 1 pairs: the largest logit and the sum of exp(logit - largest), then (token, bits of its logit) in no order
@group(0) @binding(1) var<storage, read_write> found: array<vec2<u32>>;

// `k` is at most the size of the vocabulary.
struct Params { n_rows: u32, vocab_size: u32, stride: u32, k: u32 }
var<immediate> p: Params;

// How many have each value of a digit.
var<workgroup> counts: array<atomic<u32>, 256>;
// The digits found, and the places left for what has them.
var<workgroup> digits: u32;
var<workgroup> places: u32;
var<workgroup> n_equal: u32;
var<workgroup> n_found: atomic<u32>;
var<workgroup> partial: array<f32, 256>;

// What is looked for: the ranks of logits, or tokens among those with the rank `kth`, the lowest first.
fn key(row: u32, i: u32, by_token: bool, kth: u32) -> vec2<u32> {
    let r = rank(logits[row + i]);
    return select(vec2<u32>(1u, r), vec2<u32>(u32(r == kth), ~i), by_token);
}

// Finds the key that `wanted` keys reach. Leaves how many keys equal it in `n_equal`, and how many of them are wanted in `places`.
fn find(row: u32, lane: u32, by_token: bool, kth: u32, wanted: u32) -> u32 {
    if (lane == 0u) {
        digits = 0u;
        places = wanted;
    }
    for (var shift = 32u; shift > 0u; shift -= 8u) {
        atomicStore(&counts[lane], 0u);
        workgroupBarrier();
        for (var i = lane; i < p.vocab_size; i += 256u) {
            let k = key(row, i, by_token, kth);
            // A shift by 32 bits is none.
            let agrees = shift == 32u || (k.y >> (shift & 31u)) == digits;
            if (k.x == 1u && agrees) { atomicAdd(&counts[(k.y >> (shift - 8u)) & 255u], 1u); }
        }
        workgroupBarrier();
        if (lane == 0u) {
            var digit = 255u;
            var n = atomicLoad(&counts[digit]);
            while (n < places && digit > 0u) {
                places -= n;
                digit -= 1u;
                n = atomicLoad(&counts[digit]);
            }
            digits = digits << 8u | digit;
            n_equal = n;
        }
        workgroupBarrier();
    }
    return workgroupUniformLoad(&digits);
}

fn put(row: u32, at: u32, i: u32) {
    found[at + 1u + atomicAdd(&n_found, 1u)] = vec2<u32>(i, logits[row + i]);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * p.stride;
    let at = group.y * (MAX_TOP + 1u);
    let kth = find(row, lane, false, 0u, p.k);
    let n_places = workgroupUniformLoad(&places);
    var last = ~(p.vocab_size - 1u);
    if (workgroupUniformLoad(&n_equal) > n_places) {
        last = find(row, lane, true, kth, n_places);
    }
    if (lane == 0u) { atomicStore(&n_found, 0u); }
    workgroupBarrier();
    var largest = 0u;
    for (var i = lane; i < p.vocab_size; i += 256u) {
        let r = rank(logits[row + i]);
        if (r > kth || (r == kth && ~i >= last)) { put(row, at, i); }
        largest = max(largest, r);
    }
    // The largest logit: its rank, as counts are no longer needed.
    atomicStore(&counts[lane], largest);
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (lane < half) { atomicStore(&counts[lane], max(atomicLoad(&counts[lane]), atomicLoad(&counts[lane + half]))); }
        workgroupBarrier();
    }
    let first = atomicLoad(&counts[0]);
    let bits = select(~first, first & 0x7fffffffu, first >= 0x80000000u);
    var sum = 0.0;
    for (var i = lane; i < p.vocab_size; i += 256u) {
        sum += exp(bitcast<f32>(logits[row + i]) - bitcast<f32>(bits));
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (lane < half) { partial[lane] += partial[lane + half]; }
        workgroupBarrier();
    }
    if (lane == 0u) { found[at] = vec2<u32>(bits, bitcast<u32>(partial[0])); }
}
