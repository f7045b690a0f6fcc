// What the 64 lanes of a workgroup exchange, mostly within subgroups of 8 to 64 lanes. `run` is the kernel.
//
// A driver gives a kernel one size of subgroups and one order in which they add: bits are the same in every step.

var<workgroup> reduced: array<f32, 8>;
var<private> invocation: u32;
var<private> subgroup: u32;
var<private> n_subgroups: u32;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) own_invocation: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_id) own_subgroup: u32,
    @builtin(num_subgroups) n: u32,
) {
    invocation = own_invocation;
    subgroup = own_subgroup;
    n_subgroups = n;
    // Nothing says that lanes of a subgroup follow each other in the workgroup.
    run(group, own_subgroup * size + own_invocation);
}

fn sum_lanes(value: f32, lane: u32) -> f32 {
    let sum = subgroupAdd(value);
    workgroupBarrier();
    if (invocation == 0u) { reduced[subgroup] = sum; }
    workgroupBarrier();
    var total = reduced[0];
    for (var i = 1u; i < n_subgroups; i++) { total += reduced[i]; }
    return total;
}

fn max_lanes(value: f32, lane: u32) -> f32 {
    let largest = subgroupMax(value);
    workgroupBarrier();
    if (invocation == 0u) { reduced[subgroup] = largest; }
    workgroupBarrier();
    var result = reduced[0];
    for (var i = 1u; i < n_subgroups; i++) { result = max(result, reduced[i]); }
    return result;
}

// The sum of 8 lanes, in their order.
fn sum_of_8(value: vec4<f32>, lane: u32) -> vec4<f32> {
    let first = invocation & ~7u;
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i++) { total += subgroupShuffle(value, first + i); }
    return total;
}
