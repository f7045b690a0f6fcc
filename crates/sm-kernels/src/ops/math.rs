//! Elementary functions over logical vectors.
