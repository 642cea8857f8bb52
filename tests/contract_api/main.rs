//! What `openapi.json` promises: held against the template, against itself, and against what the functions answer in process
//! to API Gateway's events. Every call made through [`world::World`] is checked against the document, whatever it tests.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod callers;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod document;
#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod events;
#[cfg(test)]
mod history;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod openai_refused;
#[cfg(test)]
mod openai_runs;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod refused_bodies;
#[cfg(test)]
mod refused_parameters;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod streams;
#[cfg(test)]
#[path = "../contract/template_document.rs"]
#[expect(dead_code, reason = "the other contract tests read more of the template")]
mod template_document;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod world;
