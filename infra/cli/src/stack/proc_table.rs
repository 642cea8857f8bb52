//! Who a process is: its start time and command line, from /proc where there is one, else from `ps`.
//!
//! A pid alone proves nothing (the kernel gives it out again), so nothing is signalled before these two agree with the record.

use std::path::Path;
use std::process::Command;

/// One living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: i32,
    pub(crate) group: i32,
    /// Clock ticks since boot, or `ps`'s start date: compared, never read.
    pub(crate) start: String,
    pub(crate) command: String,
}

/// The process, unless it has ended. A zombie has ended: in a container nobody may ever reap it.
pub(crate) fn find(pid: i32) -> Option<Entry> {
    if Path::new("/proc/self/stat").exists() { from_proc(pid) } else { from_ps(&["-p", &pid.to_string()]).into_iter().next() }
}

/// The living members of a process group.
pub(crate) fn group(group: i32) -> Vec<Entry> {
    let all = match std::fs::read_dir("/proc/self").and_then(|_| std::fs::read_dir("/proc")) {
        Ok(entries) => entries.flatten().filter_map(|entry| from_proc(entry.file_name().to_str()?.parse().ok()?)).collect(),
        Err(_) => from_ps(&["-ax"]),
    };
    all.into_iter().filter(|entry| entry.group == group).collect()
}

fn from_proc(pid: i32) -> Option<Entry> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (group, start) = parse_stat(&stat)?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
    Some(Entry { pid, group, start, command })
}

/// Group and start time out of a /proc stat line. The name in parentheses may itself hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(i32, String)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // After the name: state is field 3 of proc(5), the group 5, the start time 22.
    let (state, group, start) = (fields.first()?, fields.get(2)?, fields.get(19)?);
    if matches!(*state, "Z" | "X") {
        return None;
    }
    Some((group.parse().ok()?, (*start).to_owned()))
}

fn from_ps(selection: &[&str]) -> Vec<Entry> {
    let mut command = Command::new("ps");
    command.args(selection).args(["-o", "pid=,pgid=,stat=,lstart=,command="]).env("LC_ALL", "C");
    let Ok(output) = command.output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(parse_ps).collect()
}

/// `pid pgid stat Sun Nov 22 00:19:53 2026 command …`
fn parse_ps(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() < 9 || fields[2].starts_with('Z') {
        return None;
    }
    Some(Entry {
        pid: fields[0].parse().ok()?,
        group: fields[1].parse().ok()?,
        start: fields[3..8].join(" "),
        command: fields[8..].join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2";
        assert_eq!(parse_stat(stat), Some((40, "987654".to_owned())));
        assert_eq!(parse_stat(&stat.replace(") S 1", ") Z 1")), None);
    }

    #[test]
    fn a_ps_line_gives_the_same_facts() {
        let entry = parse_ps("  42  40 Ss Sun Nov 22 00:19:53 2026 python  infra/local/emulator.py").unwrap();
        assert_eq!((entry.pid, entry.group, entry.start.as_str()), (42, 40, "Sun Nov 22 00:19:53 2026"));
        assert_eq!(entry.command, "python infra/local/emulator.py");
    }

    #[test]
    fn this_process_finds_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let entry = find(own).unwrap();
        assert_eq!(entry, find(own).unwrap());
        assert!(group(entry.group).iter().any(|member| member.pid == own));
    }
}
