//! What `template.yaml` and the runbooks promise: read as text, held against the code.

#[cfg(test)]
mod releases;
#[cfg(test)]
mod runbooks;
#[cfg(test)]
mod template_access;
#[cfg(test)]
mod template_alarms;
#[cfg(test)]
mod template_document;
#[cfg(test)]
mod template_functions;
#[cfg(test)]
mod template_queues;
#[cfg(test)]
mod template_sweeping;
