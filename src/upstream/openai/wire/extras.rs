//! Members of an answer's messages and calls that this server does not read: kept as they came, because their server
//! may want them back.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Names and values, in order; nulls are left out.
pub type Extras<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// A key, borrowed wherever it holds no escape.
#[derive(serde::Deserialize)]
pub struct Key<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Reads an object into the members of a struct that have these names, and the rest into `extras`, but for those that
/// are of no use to a model again.
macro_rules! with_extras {
    ($kind:ident { $($member:ident),+ } lenient { $($lenient:ident),* } without [$($useless:literal),*]) => {
        impl<'de: 'a, 'a> serde::Deserialize<'de> for $kind<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader<'a>(std::marker::PhantomData<$kind<'a>>);

                impl<'de: 'a, 'a> serde::de::Visitor<'de> for Reader<'a> {
                    type Value = $kind<'a>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$kind<'a>, A::Error> {
                        let mut read = $kind::default();
                        while let Some($crate::upstream::openai::wire::extras::Key(key)) = map.next_key()? {
                            match key.as_ref() {
                                $(stringify!($member) => read.$member = map.next_value()?,)+
                                // What has another type than it should counts as absent.
                                $(stringify!($lenient) => {
                                    read.$lenient = map.next_value::<$crate::upstream::openai::wire::Lenient<_>>()?.0;
                                })*
                                $($useless => drop(map.next_value::<serde::de::IgnoredAny>()?),)*
                                _ => {
                                    let value: &serde_json::value::RawValue = map.next_value()?;
                                    if value.get() != "null" {
                                        read.extras.push((key, value));
                                    }
                                }
                            }
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_map(Reader(std::marker::PhantomData))
            }
        }
    };
}

pub(super) use with_extras;
