//! Enums whose values have names in Kubernetes' objects.

/// Declares an enum with `ALL`, `name` and `from_name`. A value without `= "text"` is named like its variant.
macro_rules! named {
    (@name $variant:ident) => { stringify!($variant) };
    (@name $variant:ident $text:literal) => { $text };
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$of_variant:meta])* $variant:ident $(= $text:literal)?,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of_variant])* $variant,)+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant),+];

            /// The name of the value.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => named!(@name $variant $($text)?),)+ }
            }

            /// The value of this name, to the letter; `None` for any other name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.name() == name)
            }
        }
    };
}

pub(crate) use named;
