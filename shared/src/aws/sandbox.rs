//! What a function's sandbox has for as long as it lives, put together once when it starts.

use std::sync::Arc;

use aws_config::SdkConfig;

use super::{Table, sdk_config};
use crate::config::Environment;
use crate::metrics::{Meter, Reporter};
use crate::telemetry::SystemClock;

/// What all functions that use the table begin with.
pub struct Sandbox {
    /// Which function it is of.
    pub function: &'static str,
    /// For all clients of AWS.
    pub config: SdkConfig,
    /// The machine's time.
    pub clock: Arc<SystemClock>,
    /// What is measured.
    pub meter: Arc<Meter>,
    /// The table, whose refusals are measured.
    pub table: Arc<Table>,
    /// Tells what was measured when an invocation ends.
    pub reporter: Reporter,
}

impl Sandbox {
    /// Of the function that the template calls `function`; its table is called `table`.
    pub async fn start(env: &Environment, function: &'static str, table: String) -> Self {
        let config = sdk_config(function).await;
        let (meter, clock) = (Arc::new(Meter::default()), Arc::new(SystemClock));
        let table = Arc::new(Table::measured(&config, table, meter.clone()));
        let reporter = Reporter::new(env, function, meter.clone(), table.clone(), clock.clone());
        Self { function, config, clock, meter, table, reporter }
    }
}

#[cfg(all(feature = "sqs", feature = "lambda-tools", feature = "traces"))]
mod work {
    use std::sync::Arc;

    use super::Sandbox;
    use crate::aws::{AwsSecrets, TaskQueue};
    use crate::config::{EngineSettings, Environment};
    use crate::definitions;
    use crate::engine::{Engine, Routes};
    use crate::model::{Providers, SecretStore};
    use crate::telemetry;
    use crate::tools::{LambdaFunctions, Workshop};

    impl Sandbox {
        /// The engine of a function that works on runs, whose continuations go to `queue`. From here on spans can be sent: the key of
        /// their collector is where all secrets are.
        ///
        /// # Errors
        /// What is missing or wrong in the definitions, the tools or the secrets.
        pub async fn engine(
            &self,
            env: &Environment,
            settings: &EngineSettings,
            queue: Arc<TaskQueue>,
        ) -> Result<Engine, Box<dyn std::error::Error + Send + Sync>> {
            let secrets: Arc<dyn SecretStore> = Arc::new(AwsSecrets::new(&self.config)?);
            telemetry::keys_are_in(&secrets);
            let bundle = definitions::load(env)?;
            let functions = Arc::new(LambdaFunctions::new(&self.config));
            let workshop = Workshop { clock: self.clock.clone(), secrets: Arc::new(secrets.clone()), functions };
            let models = &settings.models;
            let routes = Routes::new(models.chain.clone(), models.breakers(), self.table.clone()).with_agents(&bundle.agents);
            Ok(Engine {
                journal: self.table.clone(),
                queue,
                model: Arc::new(Providers::new(models, &secrets, self.clock.clone()).await?),
                routes: Arc::new(routes),
                tools: workshop.toolbox(&settings.tools.applied(&bundle)?)?,
                bundle,
                clock: self.clock.clone(),
                limits: settings.limits,
                worker: format!("{}/{}", self.function, telemetry::worker_name(env, self.clock.as_ref())),
                meter: self.meter.clone(),
            })
        }
    }
}
