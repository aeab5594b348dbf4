//! Tests that the debug port of an nRF52840 stays open through resets, and that no start causes an endless loop of
//! resets.

#[path = "../src/board/debug_port.rs"]
mod debug_port;

use debug_port::{Chip, OPEN, keep_open};

/// Chip that behaves as its specification says.
struct Emulated {
    description: [u32; 2],
    /// `UICR.APPROTECT`, a word of flash: programming clears bits.
    word: u32,
    /// Bits that the flash fails to program: they stay set.
    stuck: u32,
    /// `APPROTECT.DISABLE`.
    register: u32,
    /// Value of the word that the chip read at its last reset.
    read: u32,
    programmed: u32,
}

impl Chip for Emulated {
    fn description(&self) -> [u32; 2] {
        self.description
    }

    fn protection(&self) -> u32 {
        self.word
    }

    fn program(&mut self) {
        self.word &= OPEN | self.stuck;
        self.programmed += 1;
    }

    fn open(&mut self) {
        self.register = OPEN;
    }
}

impl Emulated {
    fn new(description: [u32; 2], word: u32, stuck: u32) -> Self {
        Self { description, word, stuck, register: 0, read: word, programmed: 0 }
    }

    fn reset(&mut self) {
        (self.read, self.register) = (self.word, 0);
    }

    /// Returns whether a probe has access.
    fn is_open(&self) -> bool {
        match self.description {
            [8, revision] if revision >= 5 => self.read & 0xff == 0x5a && self.register == 0x5a,
            _ => self.read & 0xff == 0xff,
        }
    }

    /// Starts after a reset; returns the number of further resets that the start requests.
    fn start(&mut self) -> u32 {
        self.reset();
        let mut resets = 0;
        while keep_open(self) {
            resets += 1;
            assert!(resets < 10, "a loop of resets");
            self.reset();
        }
        resets
    }
}

#[test]
fn a_chip_of_revision_3_is_open_after_one_reset_and_then_at_every_start() {
    for revision in [5, 6, u32::MAX] {
        let mut chip = Emulated::new([8, revision], u32::MAX, 0);
        assert!(!chip.is_open());
        assert_eq!(chip.start(), 1);
        assert!(chip.is_open());
        // Further starts, after power cuts or resets.
        for _ in 0..3 {
            assert_eq!(chip.start(), 0);
            assert!(chip.is_open());
        }
        assert_eq!(chip.programmed, 1);
    }
}

#[test]
fn older_and_other_chips_are_left_as_they_are() {
    for description in [[8, 0], [8, 1], [8, 4], [6, 7], [0x0d, 2], [u32::MAX, u32::MAX]] {
        for word in [u32::MAX, 0xffff_ff00, 0] {
            let mut chip = Emulated::new(description, word, 0);
            assert_eq!(chip.start(), 0);
            assert_eq!((chip.word, chip.register, chip.programmed), (word, 0, 0), "{description:?}");
        }
        assert!(Emulated::new(description, u32::MAX, 0).is_open());
    }
}

#[test]
fn a_flash_that_does_not_take_the_word_asks_for_no_reset() {
    for stuck in [0xffff_ffff, 0x1, 0x80, 0xa5] {
        let mut chip = Emulated::new([8, 5], u32::MAX, stuck);
        for _ in 0..3 {
            assert_eq!(chip.start(), 0);
            assert!(!chip.is_open());
        }
    }
}

#[test]
fn a_locked_debug_port_stays_locked() {
    for word in [0, 0xffff_ff00, 0xffff_fffe] {
        let mut chip = Emulated::new([8, 5], word, 0);
        assert_eq!(chip.start(), 0);
        assert_eq!((chip.word, chip.register, chip.programmed), (word, 0, 0));
    }
    // A port that another program has opened, whatever the bits above the field, is open.
    let mut chip = Emulated::new([8, 5], 0x5a, 0);
    assert!(chip.start() == 0 && chip.is_open());
}
