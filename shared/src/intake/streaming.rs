//! A run that is read along with from its beginning: this function works on it for as long as it has time, and tells what happens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};

use super::{Accepted, AgentRequest, Intake, IntakeError, Recorded, accepted};
use crate::domain::delta::Position;
use crate::domain::id::{RunId, TenantId};
use crate::domain::principal::Principal;
use crate::domain::state::RunState;
use crate::engine::{Carrier, Hold, Live, Window};
use crate::stream::{Reader, Told};
use crate::telemetry::chain;

/// How long before the function's end the engine stops, for the last write and the hand-over; the readers stop after that, so that
/// they can tell of it.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// How long a run counts as read along with when it begins; who reads along says it again.
pub(super) const WATCHED: Duration = Duration::from_secs(90);

/// A run that was accepted, with what happens in it.
pub struct Streamed {
    /// The run.
    pub accepted: Accepted,
    /// What happens, from its beginning on.
    pub events: BoxStream<'static, Told>,
    /// The work on it, if it is this function's: it must go on whether or not the events are read.
    pub work: Option<BoxFuture<'static, ()>>,
}

impl Intake {
    /// Records a run and tells what happens in it, until it ends or this function's time does; `until` is when it has to be done with
    /// both. A run that has to wait for its turn, or that an earlier request with the same key has started, is another worker's.
    ///
    /// # Errors
    /// See [`IntakeError`]; nothing is told then.
    pub async fn streaming(&self, principal: &Principal, request: AgentRequest, until: Timestamp) -> Result<Streamed, IntakeError> {
        let run = match self.record(principal, &request, true, true).await? {
            Recorded::Known(id) => {
                let accepted = self.known(principal, id).await?;
                return Ok(Streamed { accepted, events: self.follow(&principal.tenant, id, Position::START, until), work: None });
            }
            Recorded::New(run) => run,
        };
        let accepted = accepted(&run, false);
        if run.state != RunState::Running {
            return Ok(Streamed { accepted, events: self.follow(&principal.tenant, run.id, Position::START, until), work: None });
        }
        let (live, this) = (Arc::new(Live::heard()), self.clone());
        let events = self.reader(&principal.tenant, run.id, Position::START, until, Some(Arc::clone(&live))).read();
        let work = async move {
            let live = EndsIt(live);
            let deadline = SignedDuration::try_from(LAST_WRITES).ok().and_then(|before| until.checked_sub(before).ok()).unwrap_or(until);
            // A call that would not be done by then is left to a worker that has the time for it.
            let window = Window { deadline, cut_calls: false };
            let id = run.id;
            let advanced = this.engine.advance(*run, &request.input, Carrier::Request, window, &ReadAlong(&live.0)).await;
            if let Err(error) = advanced {
                tracing::error!(run.id = %id, error = %chain(&error), "a streamed run could not be carried on; the sweeper hands it over");
            }
        };
        Ok(Streamed { accepted, events, work: Some(Box::pin(work)) })
    }

    /// What happens in a run from a position on, wherever it is worked on, and if it has ended: what happened.
    #[must_use]
    pub fn follow(&self, tenant: &TenantId, run: RunId, from: Position, until: Timestamp) -> BoxStream<'static, Told> {
        self.reader(tenant, run, from, until, None).read()
    }

    fn reader(&self, tenant: &TenantId, run: RunId, from: Position, until: Timestamp, live: Option<Arc<Live>>) -> Reader {
        let (records, clock) = (Arc::clone(&self.records), Arc::clone(&self.engine.clock));
        Reader { records, clock, tenant: tenant.clone(), run, from, until, live }
    }
}

/// The readers do not wait for a worker that is done with the run, or has panicked.
struct EndsIt(Arc<Live>);

impl Drop for EndsIt {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request whose caller reads along. There is no message whose invisibility could be extended.
struct ReadAlong<'a>(&'a Live);

#[async_trait::async_trait]
impl Hold for ReadAlong<'_> {
    async fn extend(&self, _duration: Duration) {}

    fn live(&self) -> Option<&Live> {
        Some(self.0)
    }
}
