//! Questions and answers out of memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::domain::id::TenantId;
use crate::domain::run::Run;
use crate::engine::ports::{Journal, JournalError};
use crate::operate::{Content, Contents};

#[async_trait]
impl Contents for MemoryStore {
    async fn contents(&self, _tenant: &TenantId, runs: &[Run]) -> Result<Vec<Content>, JournalError> {
        self.check()?;
        let mut contents = Vec::new();
        for run in runs {
            let input = match Journal::input(self, run).await {
                Ok(input) => Some(input),
                Err(JournalError::NotFound) => None,
                Err(error) => return Err(error),
            };
            let mut answer = self.journal_of(run.id);
            answer.retain(|step| run.answered_at.is_some_and(|at| (at..=at + 1).contains(&step.index)));
            contents.push(Content { input, answer });
        }
        Ok(contents)
    }
}
