//! Runs every target on mutated input, within time and memory.
//!
//! `cargo xtask test` tries some hundred inputs per target; `cargo xtask fuzz` ten thousand (`SM_MUTATIONS`). A failure names
//! its number, and `SM_MUTATIONS_FROM` begins with that one. If the process dies, the number is in the file it names first.
#![allow(clippy::print_stdout, reason = "figures, and where a process that dies has left its input's number")]
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use sm_mutate::{Mutator, TARGETS, seeds};

/// Inputs per target.
const N_INPUTS: u64 = 300;
/// The longest that a target may go on without a failure being found; what is left of its inputs is then not tried.
const MAX_TIME: Duration = Duration::from_secs(8);
/// The longest that one input may take, on a busy machine.
const MAX_INPUT_TIME: Duration = Duration::from_secs(10);
/// The most memory that one input may take: some, and a multiple of its size.
const MAX_BYTES: usize = 256 << 20;
const MAX_BYTES_PER_BYTE: usize = 64;

static N_BYTES: AtomicUsize = AtomicUsize::new(0);
static MOST_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated, and the most at a time.
struct Counting;

fn add(n_bytes: usize) {
    let now = N_BYTES.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes;
    MOST_BYTES.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller has promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller has promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        N_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller has promised.
        unsafe { System.dealloc(place, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Panics of our own code, also on threads that catch them: what they stand for is no outcome.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Notes where our own code panics. That of dependencies is caught and becomes an error.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(location) = panic.location().filter(|location| location.file().starts_with("crates/"))
            {
                *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(location.to_string());
            }
            print(panic);
        }));
    });
}

fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a target. One at a time, so that memory can be told apart.
fn run(name: &str) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    watch_panics();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(target.seeds);
    let mutator = Mutator::new(&seeds);
    // What is made once does not count towards an input. A target that takes no seed would test nothing.
    let has_seeds = !seeds.iter().all(Vec::is_empty);
    assert!(!has_seeds || seeds.iter().any(|seed| (target.run)(seed)), "{name} takes none of its seeds");
    let last = std::env::temp_dir().join(format!("sm-mutations-{name}-{}", std::process::id()));
    println!("{name}: {} seeds; the number of the last input is in {}", seeds.len(), last.display());
    let from = number_of("SM_MUTATIONS_FROM", 0);
    let asked = number_of("SM_MUTATIONS", N_INPUTS);
    let is_bounded = std::env::var_os("SM_MUTATIONS").is_none();
    let began = Instant::now();
    let mut worst = (Duration::ZERO, 0);
    let mut n_tried = 0;
    let mut n_valid = 0;
    for number in from..from + asked {
        if is_bounded && began.elapsed() > MAX_TIME {
            break;
        }
        std::fs::write(&last, number.to_string()).unwrap();
        let input = mutator.input(number);
        let before = N_BYTES.load(Ordering::Relaxed);
        MOST_BYTES.store(before, Ordering::Relaxed);
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let time = started.elapsed();
        let n_bytes = MOST_BYTES.load(Ordering::Relaxed).saturating_sub(before);
        let again = format!("{name} {number} of {} bytes: SM_MUTATIONS_FROM={number}", input.len());
        assert!(outcome.is_ok(), "a panic in input {again}");
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert_eq!(panic, None, "a panic in input {again}");
        assert!(time < MAX_INPUT_TIME, "{time:?} for input {again}");
        let allowed = MAX_BYTES + MAX_BYTES_PER_BYTE * input.len();
        assert!(
            n_bytes <= allowed,
            "{n_bytes} bytes of memory, where {allowed} are allowed, for input {again}"
        );
        worst = (worst.0.max(time), worst.1.max(n_bytes));
        n_tried += 1;
        n_valid += usize::from(outcome.is_ok_and(|is_taken| is_taken));
    }
    std::fs::remove_file(&last).unwrap();
    println!(
        "{name}: {n_tried} inputs, {n_valid} taken, in {:.1} s; the slowest took {:.0} ms, the largest {} KiB",
        began.elapsed().as_secs_f64(),
        worst.0.as_secs_f64() * 1e3,
        worst.1 >> 10
    );
    assert!(n_tried > 0, "no input was tried");
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

targets!(
    config,
    gguf,
    gguf_tokenizer,
    kv_disk,
    lark,
    packed,
    regex,
    request,
    safetensors,
    schema,
    smnd,
    template,
    tokenizer
);
