//! What this process uses, as the kernel counts it. Of one sandbox: no number here speaks for the fleet.

use std::fs;

use shared::config::Environment;

/// Linux counts processor time in hundredths of a second, whatever its clock does.
const MICROS_A_TICK: u64 = 10_000;

/// Numbers of the process; absent where the system does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) user_micros: Option<u64>,
    pub(crate) system_micros: Option<u64>,
}

impl Process {
    /// Those of this moment.
    pub(crate) fn now(env: &Environment) -> Self {
        let limit = env.required("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().and_then(|megabytes| megabytes.parse::<u64>().ok());
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let (user_micros, system_micros) = processor(&text("stat"));
        Self { resident_bytes: resident(&text("status")), limit_bytes: limit.map(|n| n * 1024 * 1024), user_micros, system_micros }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Fields 14 and 15, counted behind the program's name, which may hold anything.
fn processor(stat: &str) -> (Option<u64>, Option<u64>) {
    let behind = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let field = |n: usize| behind.split_whitespace().nth(n)?.parse::<u64>().ok().map(|ticks| ticks * MICROS_A_TICK);
    (field(11), field(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(resident("Name:\thealth\nVmRSS:\t   12288 kB\n"), Some(12 * 1024 * 1024));
        assert_eq!(processor("7 (a) b) S 1 7 7 0 -1 4194304 0 0 0 0 12 3 0 0 20"), (Some(120_000), Some(30_000)));
        assert_eq!((resident(""), processor("")), (None, (None, None)));
    }
}
