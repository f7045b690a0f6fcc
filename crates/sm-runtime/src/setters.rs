//! Builder methods of option structs. With them, a struct can get new fields without breaking those who make one.

/// Makes a method that sets it for each field.
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
