//! The debug port of an nRF52840, which a chip of revision 3 closes at each reset.
//!
//! There it is open only while `UICR.APPROTECT`, a word of flash that the chip reads at a reset, and the register
//! `APPROTECT.DISABLE` both say so (nRF52840 Product Specification, "Debug and trace", "Access port protection").
//! Without this, a board that was flashed is locked from its next reset on, and a probe must erase it to get in.
//!
//! Before revision 3 the word alone decides, and there any value but 0xff closes the port: those chips are left as they
//! are. Nordic's start-up code tells them by the same two words of the chip's description (its MDK:
//! `nrf52_configuration_249` in `nrf52_erratas.h`) and opens the port as the second half of this does
//! (`nrf52_handle_approtect` in `system_nrf52_approtect.h`).

/// Both places: `HwDisabled` in the one, `SwDisable` in the other.
pub const OPEN: u32 = 0x5a;
/// A word of flash that was not written: closed on revision 3.
const ERASED: u32 = u32::MAX;
/// The nRF52840 in the first word of the description.
const NRF52840: u32 = 8;
/// Revision 3 in the second; later ones have larger numbers.
const REVISION_3: u32 = 5;

/// The registers of a chip that its debug port depends on.
pub trait Chip {
    /// The words at 0x10000130 and 0x10000134: chip and revision.
    fn description(&self) -> [u32; 2];

    /// `UICR.APPROTECT`.
    fn protection(&self) -> u32;

    /// Programs [`OPEN`] into `UICR.APPROTECT`, and waits until that is done.
    fn program(&mut self);

    /// Writes [`OPEN`] to `APPROTECT.DISABLE`.
    fn open(&mut self);
}

/// Keeps the debug port open; returns true where that needs a reset. The next start then needs none, as one is asked
/// for only where the flash has taken the word. A chip that somebody has locked on purpose stays locked.
pub fn keep_open(chip: &mut impl Chip) -> bool {
    let [part, revision] = chip.description();
    if part != NRF52840 || revision < REVISION_3 {
        return false;
    }
    let erased = chip.protection() == ERASED;
    if erased {
        chip.program();
    }
    let is_open = chip.protection() & 0xff == OPEN;
    if is_open {
        chip.open();
    }
    erased && is_open
}
