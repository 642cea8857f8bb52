//! The deployed template on the local emulator, end to end: API Gateway, Lambda, SQS, DynamoDB and a model provider, all
//! over real HTTP. `infra/checks/e2e.sh` brings the stack up, sets the three addresses and takes it down again.

mod answers;
mod background;
mod cancelling;
mod conversations;
mod dead_letters;
mod idempotency;
mod killed_workers;
mod lists;
mod log_lines;
mod probes;
mod provider_errors;
mod refusals;
mod replays;
mod streaming;
mod sweeping;
mod table;
mod tools;
mod waiting;
