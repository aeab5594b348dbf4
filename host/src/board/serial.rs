//! Opening of serial ports. A refusal names the reason and the remedy.

use serialport::SerialPort;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Opens a port with 8 data bits at `baud` baud. A read waits at most `timeout`.
///
/// # Errors
/// The reason and the remedy, in one line without the port's name.
pub(super) fn open(path: &str, baud: u32, timeout: Duration) -> Result<Box<dyn SerialPort>, String> {
    serialport::new(path, baud).timeout(timeout).open().map_err(|error| {
        let kind = match error.kind {
            serialport::ErrorKind::Io(kind) => kind,
            serialport::ErrorKind::NoDevice => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        refusal(Path::new(path), kind, &error.description)
    })
}

/// Explains why the port at this path cannot be opened, given the system's error.
fn refusal(path: &Path, kind: ErrorKind, said: &str) -> String {
    let Ok(found) = std::fs::metadata(path) else {
        return match connected() {
            ports if ports.is_empty() => {
                "there is no such port, nor any other serial port: is the board plugged in?".into()
            }
            ports => format!("there is no such port; the serial ports are {}", ports.join(", ")),
        };
    };
    if found.is_dir() {
        return "a folder, not a serial port".into();
    }
    if found.is_file() {
        return "a file, not a serial port (qemu:FIRMWARE starts the emulated board)".into();
    }
    match kind {
        ErrorKind::PermissionDenied => advice(group(&found).as_deref(), found.permissions().mode()),
        // Ports are opened exclusively; the library reports a port in use like a missing one.
        ErrorKind::ResourceBusy | ErrorKind::NotFound => {
            "another program has the port open: close that program first".into()
        }
        _ => format!("not a serial port ({said})"),
    }
}

/// Advice if access to a port with this group and mode is denied.
fn advice(group: Option<&str>, mode: u32) -> String {
    match group {
        // Members of the group may read and write.
        Some(group) if group != "root" && mode & 0o060 == 0o060 => {
            format!("permission denied: join the group {group} (`sudo usermod -aG {group} $USER`) and log in again")
        }
        _ => "permission denied: no group of users may open it; on Linux, a udev rule can assign it to a group".into(),
    }
}

/// Lists the serial ports of this machine.
fn connected() -> Vec<String> {
    let ports = serialport::available_ports().unwrap_or_default();
    ports.into_iter().map(|port| port.port_name).collect()
}

/// Name of the group that owns a file, or its number if it has no name.
#[cfg(unix)]
fn group(found: &std::fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let number = found.gid().to_string();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    Some(named.unwrap_or(number))
}

/// Name of the group that owns a file; unknown on this system.
#[cfg(not(unix))]
fn group(_found: &std::fs::Metadata) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_opened_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        std::fs::write(&file, "").unwrap();
        let device = Path::new("/dev/null");
        let cases: [(&Path, ErrorKind, &[&str]); 6] = [
            (folder.path(), ErrorKind::Other, &["a folder, not a serial port"]),
            (&file, ErrorKind::Other, &["a file, not a serial port", "qemu:FIRMWARE"]),
            (Path::new("/dev/no-such-port"), ErrorKind::NotFound, &["there is no such port"]),
            (device, ErrorKind::PermissionDenied, &["permission denied", "udev rule"]),
            (device, ErrorKind::ResourceBusy, &["another program has the port open"]),
            (device, ErrorKind::Other, &["not a serial port (Not a typewriter)"]),
        ];
        for (path, kind, words) in cases {
            let message = refusal(path, kind, "Not a typewriter");
            assert!(words.iter().all(|word| message.contains(word)), "{}: {message}", path.display());
        }
        let members = advice(Some("dialout"), 0o20660);
        assert!(members.contains("join the group dialout") && members.contains("usermod -aG dialout"), "{members}");
        for (group, mode) in [(Some("dialout"), 0o600), (Some("root"), 0o660), (None, 0o660)] {
            assert!(advice(group, mode).contains("udev rule"), "{group:?}");
        }
        assert!(open("/dev/null", 115_200, Duration::ZERO).is_err_and(|message| message.contains("not a serial port")));
    }
}
