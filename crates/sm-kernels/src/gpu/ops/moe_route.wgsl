// Chooses the experts of a row: those of the highest probability, the lower index among equals.
//
// One lane does it: there are a hundred experts at most, and the products that follow take a thousand times as long.

@group(0) @binding(0) var<storage, read> logits: array<f32>;
// [row][choice] of (expert, bits of its weight)
@group(0) @binding(1) var<storage, read_write> chosen: array<vec2<u32>>;

struct Params { n_rows: u32, stride: u32 }
var<immediate> p: Params;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    let first = group.y * p.stride;
    var largest = logits[first];
    for (var e = 1u; e < N_EXPERTS; e++) { largest = max(largest, logits[first + e]); }
    var total = 0.0;
    for (var e = 0u; e < N_EXPERTS; e++) { total += exp(logits[first + e] - largest); }
    var sum = 0.0;
    for (var k = 0u; k < TOP_K; k++) {
        var best = N_EXPERTS;
        var highest = -1.0;
        for (var e = 0u; e < N_EXPERTS; e++) {
            var is_free = true;
            for (var other = 0u; other < k; other++) {
                is_free = is_free && chosen[group.y * TOP_K + other].x != e;
            }
            let probability = exp(logits[first + e] - largest) / total;
            if (is_free && (best == N_EXPERTS || probability > highest)) {
                best = e;
                highest = probability;
            }
        }
        chosen[group.y * TOP_K + k] = vec2<u32>(best, bitcast<u32>(highest));
        sum += highest;
    }
    if (RENORMALIZE) {
        for (var k = 0u; k < TOP_K; k++) {
            let choice = chosen[group.y * TOP_K + k];
            chosen[group.y * TOP_K + k] = vec2<u32>(choice.x, bitcast<u32>(bitcast<f32>(choice.y) / sum));
        }
    }
}
