// What the 64 lanes of a workgroup exchange, through memory. `run` is the kernel.

var<workgroup> reduced: array<f32, 64>;
var<workgroup> runs: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    run(group, lane);
}

// By a tree whose shape never changes.
fn sum_lanes(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduced[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) { reduced[lane] += reduced[lane + half]; }
        workgroupBarrier();
    }
    return reduced[0];
}

fn max_lanes(value: f32, lane: u32) -> f32 {
    workgroupBarrier();
    reduced[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) { reduced[lane] = max(reduced[lane], reduced[lane + half]); }
        workgroupBarrier();
    }
    return reduced[0];
}

// The sum of 8 lanes, in their order. To be called once.
fn sum_of_8(value: vec4<f32>, lane: u32) -> vec4<f32> {
    runs[lane] = value;
    workgroupBarrier();
    let first = lane & ~7u;
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i++) { total += runs[first + i]; }
    return total;
}
