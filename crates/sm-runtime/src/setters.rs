//! Builder methods for option structs, so that adding fields does not break callers.

/// Generates a setter for each field.
macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(self, $field: $type) -> Self {
                Self { $field, ..self }
            }
        )*
    };
}

/// As [`setters`], for optional fields: each setter wraps its value in `Some`.
macro_rules! some_setters {
    ($($field:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(self, $field: $type) -> Self {
                Self { $field: Some($field), ..self }
            }
        )*
    };
}

pub(crate) use {setters, some_setters};
