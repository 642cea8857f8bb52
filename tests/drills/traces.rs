//! One trace for each run, as a receiver of OTLP sees it.
