//! xxHash64 of 32-bit words (Collet, "xxHash fast digest algorithm", version 0.1.1, §XXH64), each as little-endian
//! bytes.
//!
//! The crates that compute it index a buffer in a way that the compiler cannot prove to be in bounds, which would give
//! every step a panic path. Words of one size need no such buffer.

use heapless::Vec;

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

/// xxHash64 computation in progress, with seed 0.
#[derive(Clone, Debug)]
pub struct Digest {
    accumulators: [u64; 4],
    /// Words that do not fill a stripe yet.
    pending: Vec<u32, 8>,
    /// Total number of words.
    count: u64,
}

impl Default for Digest {
    fn default() -> Self {
        let accumulators = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
        Self { accumulators, pending: Vec::new(), count: 0 }
    }
}

impl Digest {
    /// Appends a word.
    pub fn word(&mut self, word: u32) {
        self.count = self.count.wrapping_add(1);
        // There is room, because a full stripe is cleared at once.
        let _ = self.pending.push(word);
        if self.pending.is_full() {
            let (pairs, _) = self.pending.as_chunks::<2>();
            self.accumulators.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum = round(*sum, double(*pair)));
            self.pending.clear();
        }
    }

    /// Appends 64-bit numbers, the lower half of each before the upper.
    pub fn doubles(&mut self, doubles: &[u64]) {
        for double in doubles {
            self.word(*double as u32);
            self.word((*double >> 32) as u32);
        }
    }

    /// Appends the bits of numbers. Whole stripes bypass the pending words.
    pub fn numbers(&mut self, numbers: &[f32]) {
        let missing = (8 - self.pending.len()) % 8;
        let (first, rest) = numbers.split_at(missing.min(numbers.len()));
        let (stripes, last) = rest.as_chunks::<8>();
        first.iter().for_each(|number| self.word(number.to_bits()));
        for stripe in stripes {
            for (sum, [lower, upper]) in self.accumulators.iter_mut().zip(stripe.as_chunks().0) {
                *sum = round(*sum, double([lower.to_bits(), upper.to_bits()]));
            }
        }
        self.count = self.count.wrapping_add(8 * stripes.len() as u64);
        last.iter().for_each(|number| self.word(number.to_bits()));
    }

    /// Hash of all words so far.
    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.accumulators;
        let start = if self.count < 8 {
            P5
        } else {
            let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7)).wrapping_add(c.rotate_left(12));
            let merge = |sum: u64, of: u64| (sum ^ round(0, of)).wrapping_mul(P1).wrapping_add(P4);
            self.accumulators.iter().fold(sum.wrapping_add(d.rotate_left(18)), |sum, of| merge(sum, *of))
        };
        let (pairs, last) = self.pending.as_chunks::<2>();
        let start = start.wrapping_add(self.count.wrapping_mul(4));
        let hash = pairs.iter().fold(start, |hash, pair| {
            (hash ^ round(0, double(*pair))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4)
        });
        let hash = last.iter().fold(hash, |hash, word| {
            (hash ^ u64::from(*word).wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3)
        });
        let hash = (hash ^ hash >> 33).wrapping_mul(P2);
        let hash = (hash ^ hash >> 29).wrapping_mul(P3);
        hash ^ hash >> 32
    }
}

fn round(sum: u64, of: u64) -> u64 {
    sum.wrapping_add(of.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn double([lower, upper]: [u32; 2]) -> u64 {
    u64::from(lower) | u64::from(upper) << 32
}
