//! The macro behind every option struct and the setters of the matching verb.
//!
//! One list of fields yields the struct (all fields public and `Option`), its chained setters
//! (`X::builder().field(v).build()`) and a second macro that gives an action the same setters, so
//! that the lists cannot drift apart.
//!
//! Each field says how setters of *actions* take their argument: `value T` takes a `T`, `into T`
//! an `impl Into<T>`, and `iter T` an `impl IntoIterator<Item = T>` (stored as `Vec<T>`).

/// Defines an option struct; with `$ setters_name;` in front also the setters for its actions.
macro_rules! option_struct {
    (
        $d:tt $setters:ident;
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* $field:ident : $kind:ident $ty:ty, )*
        }
    ) => {
        $crate::options::option_struct! {
            $(#[$meta])*
            pub struct $name {
                $( $(#[$doc])* $field : $kind $ty, )*
            }
        }

        /// Gives an action one setter per option, and `with_options`.
        macro_rules! $setters {
            (impl [$d($d generics:tt)*] $d target:ty) => {
                const _: () = {
                    use $crate::options::types::*;

                    impl<$d($d generics)*> $d target {
                        $(
                            $crate::options::option_setter!($(#[$doc])* $field $kind $ty);
                        )*

                        /// Sets all options at once, in place of those that were set before.
                        pub fn with_options(mut self, options: impl Into<Option<$name>>) -> Self {
                            self.options = options.into().map(Box::new);
                            self
                        }
                    }
                };
            };
        }
        pub(crate) use $setters;
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$doc:meta])* $field:ident : $kind:ident $ty:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $( $(#[$doc])* pub $field: Option<$crate::options::option_type!($kind $ty)>, )*
        }

        impl $name {
            /// Starts with nothing set; see the setters and [`Self::build`].
            #[must_use]
            pub fn builder() -> Self {
                Self::default()
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $field(
                    mut self,
                    value: impl Into<Option<$crate::options::option_type!($kind $ty)>>,
                ) -> Self {
                    self.$field = value.into();
                    self
                }
            )*

            /// Ends a builder chain.
            #[must_use]
            pub fn build(self) -> Self {
                self
            }
        }
    };
}

/// The type that a field of an option struct holds.
macro_rules! option_type {
    (iter $ty:ty) => { Vec<$ty> };
    ($kind:ident $ty:ty) => { $ty };
}

/// One setter of an action that keeps its options in `options: Option<Box<_>>`.
macro_rules! option_setter {
    ($(#[$doc:meta])* $field:ident value $ty:ty) => {
        $(#[$doc])*
        pub fn $field(mut self, value: $ty) -> Self {
            self.options.get_or_insert_default().$field = Some(value);
            self
        }
    };
    ($(#[$doc:meta])* $field:ident into $ty:ty) => {
        $(#[$doc])*
        pub fn $field(mut self, value: impl Into<$ty>) -> Self {
            self.options.get_or_insert_default().$field = Some(value.into());
            self
        }
    };
    ($(#[$doc:meta])* $field:ident iter $ty:ty) => {
        $(#[$doc])*
        pub fn $field(mut self, value: impl IntoIterator<Item = $ty>) -> Self {
            self.options.get_or_insert_default().$field = Some(value.into_iter().collect());
            self
        }
    };
}

pub(crate) use {option_setter, option_struct, option_type};
