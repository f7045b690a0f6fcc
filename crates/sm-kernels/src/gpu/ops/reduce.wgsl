// Sums and maxima of a workgroup of 64 lanes, by a tree whose shape never changes.

var<workgroup> reduced: array<f32, 64>;

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
