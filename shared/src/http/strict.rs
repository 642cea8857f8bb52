//! What `serde` is too kind for: it reads a list as a struct, field by field in order, and an object with one field as a word.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A `T` that is written as a JSON object, not as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<T>(pub T);

/// A `T` that is written as a JSON string, not as an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                T::deserialize(StrDeserializer::new(text))
            }
        }

        deserializer.deserialize_str(Text(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::message::{Role, ToolCall};

    use super::*;

    #[test]
    fn a_list_is_no_object_and_an_object_is_no_word() {
        let call = serde_json::from_str::<Object<ToolCall>>(r#"{"id": "a", "name": "clock"}"#).unwrap();
        assert_eq!(call.0.name, "clock");
        assert!(serde_json::from_str::<Object<ToolCall>>(r#"["a", "clock"]"#).is_err());
        assert!(serde_json::from_str::<ToolCall>(r#"["a", "clock"]"#).is_ok(), "this is what is not wanted");
        assert_eq!(serde_json::from_str::<Word<Role>>(r#""user""#).unwrap().0, Role::User);
        assert!(serde_json::from_str::<Word<Role>>(r#""robot""#).is_err());
        assert!(serde_json::from_str::<Word<Role>>(r#"{"user": null}"#).is_err());
        assert!(serde_json::from_str::<Role>(r#"{"user": null}"#).is_ok(), "this is what is not wanted");
    }
}
