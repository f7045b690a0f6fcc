//! Progress bars: shown only on a terminal, removed when done.

use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::Console;

/// What a bar counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Bytes, shown with binary prefixes.
    Bytes,
    /// Anything else, by its name.
    Count(&'static str),
}

/// A bar, drawn only if the console allows it.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// An empty bar; [`Progress::set`] sets its length.
    pub(crate) fn new(console: &Console, what: &'static str, unit: Unit) -> Self {
        let target = if console.shows_progress() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let counted = match unit {
            Unit::Bytes => "{binary_bytes}/{binary_total_bytes}".to_owned(),
            Unit::Count(name) => format!("{{human_pos}}/{{human_len}} {name}"),
        };
        let template = format!("{{msg}} [{{bar:30}}] {counted} {{eta}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style.progress_chars("=> "))
            .with_message(what);
        // The ticks have a thread, and panic if none is to be had. They only matter while nothing advances.
        if console.shows_progress() && thread::Builder::new().spawn(|| ()).is_ok() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    /// Shows `done` of `total`.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Sets the text before the bar.
    pub(crate) fn set_message(&self, message: String) {
        self.0.set_message(message);
    }

    /// Shows `done` of an unknown total.
    pub(crate) fn set_open(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar for loading a model, removed when the loader is dropped.
pub(crate) fn load_progress(console: &Console) -> impl Fn(sm_runtime::Progress) + Send + Sync + 'static {
    let bar = Progress::new(console, "loading", Unit::Bytes);
    move |progress| bar.set(progress.done_bytes, progress.total_bytes)
}
