//! Measurements as a TensorBoard event file.
//!
//! The file is a sequence of records. A record is the length of its data (u64), the masked CRC-32C of the length, the
//! data, and the masked CRC-32C of the data, all little-endian. The data is a protocol buffer `Event` (tensorflow's
//! `event.proto` and `summary.proto`):
//!
//! | field | number | type |
//! |---|---|---|
//! | `Event.wall_time` | 1 | double |
//! | `Event.step` | 2 | int64 |
//! | `Event.file_version` | 3 | string, in the first event |
//! | `Event.summary` | 5 | message with `value` (1), each with `tag` (1, string) and `simple_value` (2, float) |
//! | `Event.session_log` | 7 | message with `status` (1, varint), 1 at a start: events of later steps are void |

use crc::{CRC_32_ISCSI, Crc};
use graftage::training::TrainingPoint;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the beginning of a file.
pub fn beginning() -> Vec<u8> {
    record(&[now(), field(3, b"brain.Event:2")].concat())
}

/// Returns the event of a training that starts after this step: a viewer drops what an earlier run wrote about later
/// ones.
pub fn start(step: u64) -> Vec<u8> {
    record(&[now(), number(2, step + 1), field(7, &number(1, 1))].concat())
}

/// Returns the event of a measurement.
pub fn measurement(point: &TrainingPoint) -> Vec<u8> {
    let mut summary = Vec::new();
    let mut add = |tag: &str, value: Option<f32>| {
        if let Some(value) = value {
            let simple = [&[2 << 3 | 5][..], &value.to_le_bytes()].concat();
            summary.extend(field(1, &[field(1, tag.as_bytes()), simple].concat()));
        }
    };
    add("loss/batches", Some(point.loss));
    add("loss/train", point.train_loss);
    add("loss/validation", point.validation_loss);
    add("loss/test", Some(point.test_loss));
    add("loss/average", point.average_loss);
    add("accuracy/validation", point.validation_accuracy);
    add("accuracy/test", Some(point.accuracy));
    add("accuracy/average", point.average_accuracy);
    add("speed/per-second", Some(point.rate));
    add("speed/optimizer-share", Some(point.optimizer_share));
    for group in &point.groups {
        let name = &group.group;
        add(&format!("step-size/{name}"), Some(group.step_size));
        add(&format!("gradient/{name}"), Some(group.gradient));
        add(&format!("dual-norm/{name}"), group.dual);
        add(&format!("weights/{name}"), Some(group.weights));
        add(&format!("ahead/{name}"), Some(group.ahead));
        add(&format!("step-over-weights/{name}"), group.step_over_weights);
        add(&format!("refused/{name}"), Some(group.refused as f32));
    }
    record(&[now(), number(2, point.step), field(5, &summary)].concat())
}

/// Returns the length of the whole records at the beginning of a file: a process that was killed may have left a part
/// of one.
pub fn whole(file: &[u8]) -> usize {
    let mut length = 0;
    while let Some((size, rest)) = file[length..].split_first_chunk::<8>() {
        let size = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
        match size.checked_add(8) {
            Some(size) if size <= rest.len() => length += 8 + size,
            _ => break,
        }
    }
    length
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// CRC-32C, rotated and with a constant added, so that a checksum of data that contains checksums is of use.
fn masked(data: &[u8]) -> [u8; 4] {
    CASTAGNOLI.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Time now, as the field `wall_time`.
fn now() -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    [&[1 << 3 | 1][..], &seconds.to_le_bytes()].concat()
}

/// A field of type varint.
fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

/// A field of bytes.
fn field(field: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![field << 3 | 2], varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
