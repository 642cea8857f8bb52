//! The compiler of `infra/agents` (ADR 0009), without the rest of the library: `shared` embeds what it makes, and so cannot be what
//! it needs. Nothing here links into a function.

// Its modules are tested in `shared`, with what they need there.
#![cfg(not(test))]

/// Reads the files.
#[path = "../../../shared/src/agent_folder.rs"]
pub mod agent_folder;

/// The modules of `shared::domain` that definitions are made of.
#[path = "../../../shared/src/domain"]
pub mod domain {
    pub mod agent_files;
    pub mod bundle_file;
    pub mod canonical;
    pub mod definition;
    pub mod pattern;
    pub mod template;
    pub mod tool_definition;
    pub mod wildcard;
}
