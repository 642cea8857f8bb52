//! Each runbook, followed line by line.
