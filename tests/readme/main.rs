//! Every command of README.md, run as it is printed there: on the test stack instead of the user's.

#[cfg(test)]
mod commands;
