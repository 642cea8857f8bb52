//! Is a port free, and if not: who has it, and which variable chooses another.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::stack::proc_table;

/// Fails when anything listens on the port of this machine.
pub(crate) fn require_free(port: u16, variable: &str) -> Result<()> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    // `localhost` is ::1 first for many clients: a stranger there would get the requests that are meant for us.
    let six = TcpStream::connect_timeout(&SocketAddr::from((Ipv6Addr::LOCALHOST, port)), Duration::from_millis(200)).is_ok();
    match bound {
        Ok(_) if !six => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Error::new(format!("port {port} ({variable}) may not be used by this user"))
                .because(error)
                .with_hint(format!("choose one above 1023: {variable}={}", 8000 + port % 1000)))
        }
        Ok(_) | Err(_) => Err(busy(port, variable)),
    }
}

fn busy(port: u16, variable: &str) -> Error {
    let owner = owner(port).map(|owner| format!(" by {owner}")).unwrap_or_default();
    let free = port.checked_add(10).unwrap_or(port - 10);
    Error::new(format!("port {port} ({variable}) is in use{owner}"))
        .with_hint(format!("end that program, or choose another port: make run {variable}={free}"))
}

/// `pid 42 (python3 -m http.server 8000)`, when /proc shows it: another user's process does not.
fn owner(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let pid = std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let mut files = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        files
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())))
            .then_some(pid)
    })?;
    let command = proc_table::find(pid)?.command;
    Some(format!("pid {pid} ({})", crate::out::brief(&command, 100)))
}

/// The inodes of the sockets that listen on `port`, out of /proc/net/tcp (proc(5): address, state 0A, inode in field 10).
fn listening(table: &str, port: u16) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row.len() > 9 && row[3] == "0A" && row[1].ends_with(&format!(":{port:04X}")));
    ours.map(|row| row[9].to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_names_the_port_the_owner_and_the_variable() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = require_free(port, "MODEL_PORT").unwrap_err().render();
        assert!(text.contains(&format!("port {port} (MODEL_PORT) is in use")), "{text}");
        assert!(text.contains("make run MODEL_PORT="), "{text}");
        if cfg!(target_os = "linux") {
            assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        }
    }

    #[test]
    fn a_free_port_is_free() {
        // A port that was just given back may be taken again by a test beside this one, so any of some will do.
        let given_back = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert!((0..50).any(|_| require_free(given_back(), "MODEL_PORT").is_ok()));
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "head\n 0: 0100007F:1F40 00000000:0000 0A 0:0 0:0 0 0 0 111 1\n 1: 0100007F:1F40 0100007F:9999 01 0:0 0:0 0 0 0 222 1\n 2: 0100007F:1F41 0:0 0A 0:0 0:0 0 0 0 333 1\n";
        assert_eq!(listening(table, 8000), ["111"]);
    }
}
