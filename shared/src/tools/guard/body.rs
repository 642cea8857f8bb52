//! The body of an answer, read as far as the reader wants.

use super::FetchError;

/// What is still to come of an answer.
pub(crate) struct Body(reqwest::Response);

impl Body {
    pub(super) fn of(answer: reqwest::Response) -> Self {
        Self(answer)
    }

    /// The next piece; none at the end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(self.0.chunk().await.map_err(FetchError::Broken)?.map(|bytes| bytes.to_vec()))
    }

    /// The first `most` bytes, and whether that is all.
    pub(crate) async fn beginning(mut self, most: usize) -> Result<(Vec<u8>, bool), FetchError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                bytes.truncate(most);
                return Ok((bytes, false));
            }
        }
        Ok((bytes, true))
    }

    /// All of it, if it has at most `most` bytes.
    pub(crate) async fn whole(self, most: usize) -> Result<Vec<u8>, FetchError> {
        match self.beginning(most).await? {
            (bytes, true) => Ok(bytes),
            (_, false) => Err(FetchError::TooLarge(most)),
        }
    }
}
