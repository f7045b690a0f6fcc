//! What only the inside of the executor can show.

use sm_tensor::{DType, TokenId};

use super::*;
use crate::plan::{KvDType, Span};
use crate::testing::{self, RandomWeights};

fn executor(n_threads: usize) -> CpuExecutor {
    let plan = testing::decoder(DType::F32);
    let limits =
        Limits { max_tokens: 8, max_outputs: 8, max_sequences: 1, n_pages: 4, kv_dtype: KvDType::F32 };
    let mut team = Team::new(n_threads).unwrap();
    let weights = Weights::load(&plan, &RandomWeights::new(&plan), &mut team, &|_| ()).unwrap();
    CpuExecutor::new(&plan, weights, (team, IsaKind::best()), limits).unwrap()
}

fn logits(executor: &mut CpuExecutor) -> Vec<f32> {
    let span = Span { first_row: 0, n_rows: 3, start: 0, first_page: 0, n_pages: 1 };
    let (tokens, page_table) = ([1, 2, 3].map(TokenId), [PageId(2)]);
    let batch = StepBatch { tokens: &tokens, spans: &[span], page_table: &page_table, output_rows: &[2] };
    executor.submit(&batch).unwrap();
    executor.wait().unwrap().row(0).to_vec()
}

#[test]
fn a_panic_in_any_worker_leaves_the_executor_usable() {
    for n_threads in 1..=3 {
        let mut executor = executor(n_threads);
        let expected = logits(&mut executor);
        for culprit in 0..n_threads {
            let CpuExecutor { memory, team, scratches, tables, program, .. } = &mut executor;
            let result =
                memory.run((team, scratches), &tables.shares(), &program.phases, |phase, access, _| {
                    assert!(phase.op != 5 || access.worker().index() != culprit, "worker {culprit} fails");
                });
            executor.submitted = Some(result);
            let message = format!("worker {culprit} fails");
            assert_eq!(executor.wait().unwrap_err(), ExecError::WorkerPanicked { message });
            assert_eq!(logits(&mut executor), expected);
        }
    }
}

#[test]
fn each_phase_keeps_to_its_footprint() {
    let mut executor = executor(1);
    logits(&mut executor);
    let logits = executor.program.logits;
    let CpuExecutor { memory, team, scratches, tables, program, .. } = &mut executor;
    let first = &program.phases[..1];
    let read = memory.run((team, scratches), &tables.shares(), first, |_, access, _| {
        access.read(logits);
    });
    assert!(read.unwrap_err().message.contains("is not read in this phase"));
    let write = memory.run((team, scratches), &tables.shares(), first, |_, access, _| {
        access.share(logits);
    });
    assert!(write.unwrap_err().message.contains("is not written in this phase"));
}
