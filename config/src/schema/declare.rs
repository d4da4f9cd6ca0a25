//! `settings!`: declares a section once, as a struct and as the table that its manual is made from.

/// Declares a section:
///
/// ```text
/// settings! {
///     /// What the section is about.
///     pub struct Pool in "pool" {
///         /// What the setting does.
///         lease_ms: u64 where 500..=60_000,
///         /// A setting without a default shows an example in the manual.
///         spare: Option<String> => "like this",
///     }
/// }
/// ```
///
/// The top level has no `in`, and names its sections after `with`.
macro_rules! settings {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident in $section:literal {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty $(where $min:literal ..= $max:literal)? $(=> $example:tt)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                $(#[doc = concat!("\n\nFrom ", stringify!($min), " to ", stringify!($max), ".")])?
                pub $field: $type,
            )*
        }

        impl $name {
            /// What the manual says about it.
            pub(crate) const SECTION: $crate::schema::Section = $crate::schema::Section {
                name: $section,
                doc: &[$($about),*],
                fields: &[$(
                    declare_field!(
                        concat!($section, ".", stringify!($field)), [$($doc),*], $type, [$($min, $max)?], [$($example)?]
                    ),
                )*],
            };
        }
    };
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty $(=> $example:tt)?,
            )*
        }
        with {
            $($section:ident: $section_type:ty,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                pub $field: $type,
            )*
            $(
                #[doc = concat!("The section `[", stringify!($section), "]`.")]
                pub $section: $section_type,
            )*
        }

        impl $name {
            /// What the manual says about it.
            pub(crate) const SECTION: $crate::schema::Section = $crate::schema::Section {
                name: "",
                doc: &[$($about),*],
                fields: &[$(declare_field!(stringify!($field), [$($doc),*], $type, [], [$($example)?]),)*],
            };
        }

        /// Every section but the top level.
        pub(crate) const SECTIONS: &[$crate::schema::Section] = &[$(<$section_type>::SECTION),*];
    };
}

/// One [`Field`](crate::schema::Field) of the table.
macro_rules! declare_field {
    ($key:expr, [$($doc:literal),*], $type:ty, [$($min:literal, $max:literal)?], [$($example:tt)?]) => {
        $crate::schema::Field {
            key: $key,
            doc: &[$($doc),*],
            kind: <$type as $crate::schema::SettingType>::KIND,
            optional: <$type as $crate::schema::SettingType>::OPTIONAL,
            bounds: declare_option!($($crate::schema::Bounds { min: $min, max: $max })?),
            example: declare_option!($(stringify!($example))?),
            check: |value| value.deserialize::<$type>().err(),
        }
    };
}

/// `Some` of what is there, else `None`.
macro_rules! declare_option {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}
