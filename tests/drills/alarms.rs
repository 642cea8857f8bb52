//! Every alarm is driven to ALARM and back to OK.
