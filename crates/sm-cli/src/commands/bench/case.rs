//! The tests: every combination of the options, with the names of llama-bench.

use std::fmt;

/// What a test times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Prompt processing, many tokens per step.
    Prompt,
    /// Generation, one token of each sequence per step.
    Generate,
}

/// One test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) phase: Phase,
    /// Timed tokens per sequence.
    pub(super) n_tokens: usize,
    /// Positions filled per sequence before timing starts.
    pub(super) depth: usize,
    /// Sequences in a step.
    pub(super) sequences: usize,
}

/// The values of the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid<'a> {
    pub(super) prompt: &'a [usize],
    pub(super) generate: &'a [usize],
    pub(super) depths: &'a [usize],
    pub(super) sequences: &'a [usize],
}

impl Grid<'_> {
    /// Every combination. A length of 0 has no test.
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &sequences in self.sequences {
            for &depth in self.depths {
                for (phase, lengths) in [(Phase::Prompt, self.prompt), (Phase::Generate, self.generate)] {
                    let lengths = lengths.iter().filter(|&&n_tokens| n_tokens > 0);
                    cases.extend(lengths.map(|&n_tokens| Case { phase, n_tokens, depth, sequences }));
                }
            }
        }
        cases
    }
}

impl Case {
    /// Positions per sequence at the end.
    pub(super) fn context_len(&self) -> usize {
        self.depth.saturating_add(self.n_tokens)
    }

    /// Tokens of one repetition, all sequences together.
    pub(super) fn total_tokens(&self) -> usize {
        self.n_tokens * self.sequences
    }
}

impl fmt::Display for Case {
    /// `pp512`, `tg128`, `tg64@d1024`, `tg64@b8`, `tg64@d1024@b8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.phase {
            Phase::Prompt => "pp",
            Phase::Generate => "tg",
        };
        write!(f, "{prefix}{}", self.n_tokens)?;
        if self.depth > 0 {
            write!(f, "@d{}", self.depth)?;
        }
        if self.sequences > 1 {
            write!(f, "@b{}", self.sequences)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_combined_and_zero_has_no_test() {
        let grid = Grid { prompt: &[512, 0], generate: &[64], depths: &[0, 1024], sequences: &[1, 8] };
        let names: Vec<String> = grid.cases().iter().map(Case::to_string).collect();
        let expected = [
            "pp512",
            "tg64",
            "pp512@d1024",
            "tg64@d1024",
            "pp512@b8",
            "tg64@b8",
            "pp512@d1024@b8",
            "tg64@d1024@b8",
        ];
        assert_eq!(names, expected);
    }
}
