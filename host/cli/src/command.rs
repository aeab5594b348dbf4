//! The commands, one per module.

pub mod adapt;
pub mod age;
pub mod delta;
pub mod eval;
pub mod graft;
pub mod introduce;
pub mod monitor;
pub mod record;
pub mod rehearse;
pub mod replay;
pub mod report;
pub mod reset;
pub mod schedule;
pub mod size;
pub mod theory;
