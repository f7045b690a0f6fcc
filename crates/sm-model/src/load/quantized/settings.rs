//! Settings that several methods share.

use super::part::Part;
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, unsupported};

/// What to do instead, for messages.
pub(super) const INSTEAD: &str = "use a GGUF file, or the unquantized model with --quant";

/// Columns per group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupSize {
    Columns(usize),
    /// One group for a whole row.
    Row,
}

impl GroupSize {
    /// The field `key`, where -1 stands for whole rows.
    pub(super) fn of(config: &Config, key: &str) -> Result<Option<Self>, LoadError> {
        if config.number(key)? == Some(-1.0) {
            return Ok(Some(Self::Row));
        }
        Ok(config.count(key, MAX_EXTENT)?.map(Self::Columns))
    }

    /// The length of a group and their number in rows of `n_cols`.
    ///
    /// # Errors
    /// If groups do not divide the rows of the matrix that `codes` belong to.
    pub(super) fn divide(self, codes: &Part, n_cols: usize) -> Result<Division, LoadError> {
        let group_len = match self {
            Self::Columns(group_len) => group_len,
            Self::Row => n_cols,
        };
        if n_cols.is_multiple_of(group_len) {
            return Ok(Division { group_len, n_groups: n_cols / group_len });
        }
        Err(codes.error(format!("groups of {group_len} do not divide its rows of {n_cols} values")))
    }
}

/// Rows divided into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    pub(super) group_len: usize,
    pub(super) n_groups: usize,
}

/// The field `key`, if it is one of `supported`.
pub(super) fn bits(config: &Config, key: &str, supported: &[usize]) -> Result<usize, LoadError> {
    let found = config.require_count(key, 64)?;
    if supported.contains(&found) {
        return Ok(found);
    }
    let list = supported.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    Err(unsupported(key, found, format!("supported: {list}; {INSTEAD}")))
}

/// Group indices of columns, `[n_cols]`, each below `n_groups`.
///
/// # Errors
/// If there are more or fewer, or one is out of range.
pub(super) fn group_indices(part: &Part, n_cols: usize, n_groups: usize) -> Result<Vec<u32>, LoadError> {
    part.expect_shape(&[n_cols])?;
    let indices = part.integers()?;
    match indices.iter().position(|&index| index < 0 || index >= n_groups as i64) {
        None => Ok(indices.into_iter().map(|index| index as u32).collect()),
        Some(column) => {
            let found = indices[column];
            Err(part.error(format!("column {column} is in group {found}, but there are {n_groups} groups")))
        }
    }
}
