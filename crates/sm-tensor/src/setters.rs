//! Builder methods for the option structs of all crates, so that a struct can gain fields without breaking its users.

/// Makes a method that sets it for each field.
#[doc(hidden)]
#[macro_export]
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

/// As [`setters`] for optional fields: each method gives the field a value.
#[doc(hidden)]
#[macro_export]
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
