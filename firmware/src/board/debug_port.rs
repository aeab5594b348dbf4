//! Debug port of an nRF52840, which chips of revision 3 close at each reset.
//!
//! On these chips the port is open only while `UICR.APPROTECT`, a word of flash that the chip reads at reset, and the
//! register `APPROTECT.DISABLE` both say so (nRF52840 Product Specification, "Debug and trace", "Access port
//! protection"). Without this module, a flashed board would be locked from its next reset on, and a probe would have to
//! erase it to get access.
//!
//! Before revision 3 the word alone decides, and any value but 0xff closes the port. Those chips are left as they are.
//! Nordic's start-up code distinguishes them by the same two words of the chip's description (its MDK:
//! `nrf52_configuration_249` in `nrf52_erratas.h`) and opens the port like the second half of `keep_open`
//! (`nrf52_handle_approtect` in `system_nrf52_approtect.h`).

/// Value that opens the port in both places: `HwDisabled` in the word, `SwDisable` in the register.
pub const OPEN: u32 = 0x5a;
/// Value of an erased flash word, which closes the port on revision 3.
const ERASED: u32 = u32::MAX;
/// First word of the description on an nRF52840.
const NRF52840: u32 = 8;
/// Second word of the description on revision 3; later revisions have larger values.
const REVISION_3: u32 = 5;

/// Chip registers that control the debug port.
pub trait Chip {
    /// Returns the words at 0x10000130 and 0x10000134: chip and revision.
    fn description(&self) -> [u32; 2];

    /// Returns `UICR.APPROTECT`.
    fn protection(&self) -> u32;

    /// Programs [`OPEN`] into `UICR.APPROTECT`, and waits until that is done.
    fn program(&mut self);

    /// Writes [`OPEN`] to `APPROTECT.DISABLE`.
    fn open(&mut self);
}

/// Keeps the debug port open; returns `true` if that requires a reset. The next start then requires none, as a reset is
/// requested only if the flash has taken the word. A chip that was locked on purpose stays locked.
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
