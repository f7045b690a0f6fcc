//! The halves of a plan that was cut give the bits of the whole, whatever is computed, copied or moved.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::ops::Range;
use std::sync::Mutex;

use proptest::prelude::*;
use sm_kernels::CpuBackend;
use sm_kernels::plan::{
    Backend, Executor, KvDType, Limits, OutputRow, PAGE_LEN, PackedBytes, Plan, Progress, Span, SplitBackend,
    SplitExecutor, StepBatch, StepOutput, Wanted, WeightError, WeightSource,
};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

const N_PAGES: usize = 48;
/// Pages of each sequence.
const PAGES: usize = 8;
const MAX_TOKENS: usize = 40;

fn limits(kv_dtype: KvDType) -> Limits {
    Limits {
        max_tokens: MAX_TOKENS,
        max_outputs: 24,
        max_sequences: 3,
        kv_dtype,
        ..Limits::one_sequence(N_PAGES * PAGE_LEN)
    }
}

fn executor(plan: &Plan, n_threads: usize, limits: Limits) -> Box<dyn Executor> {
    let backend = CpuBackend::new().exact_threads(n_threads);
    backend.prepare(plan, &RandomWeights::new(plan), limits, &|_| ()).unwrap()
}

/// The two halves on teams of different sizes.
fn split(plan: &Plan, layer: usize, limits: Limits) -> SplitExecutor {
    let (first, second) = plan.split(layer).unwrap();
    let first = executor(&first, 1, Limits { max_outputs: limits.max_tokens, ..limits });
    SplitExecutor::new(plan, layer, first, executor(&second, 3, limits)).unwrap()
}

/// Sequences in pages `0..24` or `24..48`, page by page between each other.
#[derive(Clone)]
struct Sequences {
    computed: [usize; 3],
    first_page: usize,
}

impl Sequences {
    fn pages(&self, sequence: usize) -> Vec<PageId> {
        (0..PAGES).map(|page| PageId((self.first_page + page * 3 + sequence) as u32)).collect()
    }

    /// One step of some rows of each sequence; every third row gives something else.
    fn step(&mut self, executor: &mut dyn Executor, rows: [usize; 3]) -> String {
        let (mut tokens, mut spans, mut page_table) = (Vec::new(), Vec::new(), Vec::new());
        for (sequence, n_rows) in rows.into_iter().enumerate() {
            let start = self.computed[sequence];
            let n_rows = n_rows.min(PAGES * PAGE_LEN - start).min(MAX_TOKENS - tokens.len());
            if n_rows == 0 {
                continue;
            }
            spans.push(Span {
                first_row: tokens.len() as u32,
                n_rows: n_rows as u32,
                start: start as u32,
                first_page: page_table.len() as u32,
                n_pages: PAGES as u32,
                ..Span::default()
            });
            tokens.extend(
                (start..start + n_rows).map(|i| TokenId(((i * i + 7 * sequence + 3 * i) % 40) as u32)),
            );
            page_table.extend(self.pages(sequence));
            self.computed[sequence] += n_rows;
        }
        if tokens.is_empty() {
            return String::new();
        }
        let kinds = [Wanted::Logits, Wanted::TopK(4), Wanted::Hidden, Wanted::ArgMax];
        let last_rows = (0..tokens.len() as u32).rev().take(24).collect::<Vec<_>>().into_iter().rev();
        let outputs: Vec<_> =
            last_rows.map(|row| OutputRow { row, wanted: kinds[row as usize % kinds.len()] }).collect();
        let (tokens, spans, page_table, outputs) = (&tokens[..], &spans[..], &page_table[..], &outputs[..]);
        let batch = StepBatch { tokens, spans, page_table, outputs, ..StepBatch::default() };
        let mut output = StepOutput::new();
        executor.run(&batch, &mut output).unwrap();
        let give = |(i, row): (usize, &OutputRow)| match row.wanted {
            Wanted::Logits => format!("{:?}", output.logits(i)),
            Wanted::ArgMax => format!("{:?}", output.arg_max(i)),
            Wanted::Hidden => format!("{:?}", output.hidden(i)),
            _ => format!("{:?} {}", output.top(i), output.log_sum_exp(i)),
        };
        outputs.iter().enumerate().map(give).collect::<Vec<_>>().join("\n")
    }

    fn all_pages(&self) -> Vec<PageId> {
        (0..3).flat_map(|sequence| self.pages(sequence)).collect()
    }
}

/// What happens between two steps.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    /// Every page is copied to the other half of the pool, and the sequences go on there.
    Copy,
    /// Every page goes out and comes back elsewhere.
    Move,
}

/// Applies it to an executor; gives the bytes that went out.
fn apply(between: Between, executor: &mut dyn Executor, sequences: &mut Sequences) -> Vec<u8> {
    let from = sequences.all_pages();
    let first_page = N_PAGES / 2 - sequences.first_page;
    let to = Sequences { first_page, ..sequences.clone() }.all_pages();
    match between {
        Between::Nothing => Vec::new(),
        Between::Copy => {
            let pairs: Vec<_> = from.into_iter().zip(to).collect();
            executor.copy_pages(&pairs).unwrap();
            sequences.first_page = first_page;
            Vec::new()
        }
        Between::Move => {
            let mut bytes = vec![0; from.len() * executor.page_bytes()];
            executor.read_pages(&from, &mut bytes).unwrap();
            executor.write_pages(&to, &bytes).unwrap();
            sequences.first_page = first_page;
            bytes
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn two_halves_compute_what_the_whole_does(
        steps in prop::collection::vec(
            (
                prop::array::uniform3(prop::sample::select(vec![0_usize, 1, 1, 2, 17, 30])),
                prop::sample::select(vec![Between::Nothing, Between::Nothing, Between::Copy, Between::Move]),
            ),
            1..7,
        ),
        layer in 0_usize..4,
        formats in prop::sample::select(vec![
            (DType::F32, KvDType::F16), (DType::Q4_0, KvDType::Q8_0), (DType::Bf16, KvDType::F32),
        ]),
    ) {
        let plan = testing::mixed_decoder(formats.0);
        let limits = limits(formats.1);
        let (mut whole, mut halves) = (executor(&plan, 2, limits), split(&plan, layer, limits));
        prop_assert_eq!(halves.page_bytes(), whole.page_bytes());
        let mut expected = Sequences { computed: [0; 3], first_page: 0 };
        let mut actual = expected.clone();
        for (rows, between) in steps {
            prop_assert_eq!(expected.step(&mut *whole, rows), actual.step(&mut halves, rows));
            let bytes = apply(between, &mut *whole, &mut expected);
            prop_assert!(bytes == apply(between, &mut halves, &mut actual), "pages in the same order");
        }
    }
}

#[test]
fn the_trace_of_the_halves_is_that_of_the_whole() {
    let plan = testing::decoder(DType::Q8_0);
    let limits = limits(KvDType::F16);
    let batch = StepBatch {
        tokens: &[1, 2, 3].map(TokenId),
        spans: &[Span { n_rows: 3, n_pages: 1, ..Span::default() }],
        page_table: &[PageId(2)],
        outputs: &[OutputRow::logits(1), OutputRow::logits(2)],
        ..StepBatch::default()
    };
    let trace = |executor: &mut dyn Executor| {
        let mut seen = Vec::new();
        executor.trace(&batch, &mut |op, values| seen.push((op, values.to_vec()))).unwrap();
        seen
    };
    let expected = trace(&mut *executor(&plan, 1, limits));
    assert_eq!(expected.len(), plan.ops.len());
    assert!(trace(&mut split(&plan, 1, limits)) == expected);
}

#[test]
fn the_second_half_computes_from_what_it_is_given() {
    let plan = testing::decoder(DType::F32);
    let (_, second) = plan.split(1).unwrap();
    let mut second = executor(&second, 2, limits(KvDType::F16));
    let mut logits = |input: &[f32]| {
        let mut output = StepOutput::new();
        let batch = StepBatch {
            tokens: &[TokenId(1); 2],
            spans: &[Span { n_rows: 2, n_pages: 1, ..Span::default() }],
            page_table: &[PageId(0)],
            outputs: &[OutputRow::logits(1)],
            input: Some(input),
            ..StepBatch::default()
        };
        second.run(&batch, &mut output).map(|()| output.logits(0).to_vec())
    };
    let mut input: Vec<f32> = (0..128).map(|i| (i as f32 * 0.7).sin()).collect();
    let expected = logits(&input).unwrap();
    assert_eq!(logits(&input).unwrap(), expected);
    // The first row reaches the second by attention alone.
    for changed in [3, 100] {
        input[changed] += 0.5;
        assert_ne!(logits(&input).unwrap(), expected, "value {changed}");
        input[changed] -= 0.5;
    }
    let error = logits(&input[1..]).unwrap_err().to_string();
    assert!(error.contains("an input of 127 values for 2 rows of 64"), "{error}");
}

#[test]
fn halves_that_do_not_fit_are_refused() {
    let plan = testing::decoder(DType::F32);
    let limits = limits(KvDType::F16);
    let refuse = |first_limits: Limits| {
        let (first, second) = plan.split(1).unwrap();
        let (first, second) = (executor(&first, 1, first_limits), executor(&second, 1, limits));
        SplitExecutor::new(&plan, 1, first, second).unwrap_err().to_string()
    };
    let whole_rows = Limits { max_outputs: MAX_TOKENS, ..limits };
    for first_limits in
        [limits, Limits { n_pages: 3, ..whole_rows }, Limits { max_sequences: 2, ..whole_rows }]
    {
        assert!(refuse(first_limits).contains("need equal limits"), "{first_limits:?}");
    }
    let mut halves = split(&plan, 1, limits);
    let error = halves.read_pages(&[PageId(0); 2], &mut [0; 9]).unwrap_err().to_string();
    assert!(error.contains("2 pages of") && error.contains("but 9 bytes"), "{error}");
    let error = halves.copy_pages(&[(PageId(0), PageId(48))]).unwrap_err().to_string();
    assert!(error.contains("page 48 is copied"), "{error}");
}

/// A source with a packed file, which only a whole plan may use.
struct WithPacked(RandomWeights);

impl WeightSource for WithPacked {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        self.0.matrix_rows(tensor, rows, buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        self.0.vector(tensor)
    }

    fn packed(&self, form: &str, _n_bytes: usize) -> Option<PackedBytes> {
        panic!("a half asks for what the whole was packed into: {form}");
    }

    fn keep_packed(&self, form: &str, _bytes: &[u8]) {
        panic!("a half replaces what the whole was packed into: {form}");
    }
}

#[test]
fn any_number_of_layers_on_a_second_backend_gives_the_bits_of_the_whole() {
    let plan = testing::mixed_decoder(DType::Q4_0);
    let limits = limits(KvDType::F16);
    let n_layers = plan.layer_starts.len();
    let mut whole = executor(&plan, 2, limits);
    let expected = Sequences { computed: [0; 3], first_page: 0 }.step(&mut *whole, [17, 1, 5]);
    for n_last in 0..=n_layers + 1 {
        let cpu = |n_threads| Box::new(CpuBackend::new().exact_threads(n_threads));
        let backend = SplitBackend::new(cpu(1), cpu(2), n_last);
        let reported = Mutex::new(Vec::<Progress>::new());
        let note = |progress| reported.lock().unwrap().push(progress);
        let weights = RandomWeights::new(&plan);
        let loaded = if (1..n_layers).contains(&n_last) {
            backend.load(&plan, &WithPacked(weights), &note)
        } else {
            backend.load(&plan, &weights, &note)
        };
        let mut split = backend.prepare_loaded(&plan, &loaded.unwrap(), limits).unwrap();
        let actual = Sequences { computed: [0; 3], first_page: 0 }.step(&mut *split, [17, 1, 5]);
        assert_eq!(actual, expected, "{n_last} of {n_layers} layers on the second");

        let reported = reported.into_inner().unwrap();
        let last = reported.last().unwrap();
        assert!(reported.is_sorted_by_key(|progress| progress.done_bytes), "{reported:?}");
        assert!(reported.iter().all(|progress| progress.total_bytes == last.total_bytes), "{reported:?}");
        assert_eq!(last.done_bytes, last.total_bytes, "{n_last} of {n_layers}");
        let (needs, info) = (backend.memory_needs(&plan, &limits).unwrap(), split.info());
        assert_eq!(
            [needs.weight_bytes, needs.kv_bytes, needs.activation_bytes],
            [info.weight_bytes, info.kv_bytes, info.activation_bytes],
            "{n_last} of {n_layers}"
        );
    }
}

#[test]
fn weights_for_another_cut_are_refused() {
    let plan = testing::mixed_decoder(DType::F32);
    let cpu = || Box::new(CpuBackend::new().exact_threads(1));
    let [one, two] = [1, 2].map(|n_last| SplitBackend::new(cpu(), cpu(), n_last));
    let loaded = one.load(&plan, &RandomWeights::new(&plan), &|_| ()).unwrap();
    let error = two.prepare_loaded(&plan, &loaded, limits(KvDType::F16)).unwrap_err().to_string();
    assert!(error.contains("do not belong to this plan"), "{error}");
    let loaded = cpu().load(&plan, &RandomWeights::new(&plan), &|_| ()).unwrap();
    let error = two.prepare_loaded(&plan, &loaded, limits(KvDType::F16)).unwrap_err().to_string();
    assert!(error.contains("not loaded for two backends"), "{error}");
}
