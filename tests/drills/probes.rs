//! Each probe under each fault.
