//! What Prometheus reads off the fleet.
