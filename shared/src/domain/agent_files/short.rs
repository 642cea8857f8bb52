//! A field that is mostly a word, and a map where there is more to say.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A text, or a map.
#[derive(Debug)]
pub(super) enum Short<M> {
    Text(String),
    Map(M),
}

// Not `untagged`: that reads into a buffer, which forgets the lines.
impl<'de, M: Deserialize<'de>> Deserialize<'de> for Short<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

struct Either<M>(PhantomData<M>);

impl<'de, M: Deserialize<'de>> Visitor<'de> for Either<M> {
    type Value = Short<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a map of fields")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Short::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        M::deserialize(MapAccessDeserializer::new(map)).map(Short::Map)
    }
}
