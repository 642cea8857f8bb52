//! Two providers that fail and heal, and the runs that must not notice; and the same agent over other protocols. infra/checks/failover.sh brings the stack up: its chain is
//! `openai::gpt-4o-mini`, then `backup::gpt-4o-mini`, each with an offline model of its own.

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod protocols;
