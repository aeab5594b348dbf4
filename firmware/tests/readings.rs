//! Tests that no reading between an interrupt and the program is lost silently.

use graftage_firmware::readings::{Readings, Received, Tally};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_reading_that_finds_no_room_is_counted_by_the_next_that_does() {
    let received = |reading, dropped| Received { reading, dropped };
    let mut readings = Readings::<char, 4>::new();
    let (mut source, mut drain) = readings.split();
    assert_eq!((drain.get(), drain.tally()), (None, Tally::default()));
    // There is room for three: the fourth and fifth are dropped.
    "abcde".chars().for_each(|reading| source.put(reading));
    assert_eq!(drain.get(), Some(received('a', 0)));
    source.put('f');
    source.put('g');
    assert_eq!((drain.get(), drain.get()), (Some(received('b', 0)), Some(received('c', 0))));
    assert_eq!(drain.tally(), Tally { put: 3, got: 3, dropped: 0 });
    assert_eq!((drain.get(), drain.get()), (Some(received('f', 2)), None));
    assert_eq!(drain.tally(), Tally { put: 6, got: 4, dropped: 2 });
    source.put('h');
    assert_eq!((drain.get(), drain.tally()), (Some(received('h', 1)), Tally { put: 8, got: 5, dropped: 3 }));
}

#[test]
fn a_slow_program_gets_or_counts_every_reading_in_order() {
    const COUNT: u32 = 200_000;
    const LAST: u32 = u32::MAX;
    let mut readings = Readings::<u32, 8>::new();
    let (mut source, mut drain) = readings.split();
    let (seen, all_put, emptied) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
    let wait = |flag: &AtomicBool| {
        while !flag.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    };
    let (mut got, mut dropped, mut right, mut expected) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..COUNT / 2).for_each(|reading| source.put(reading));
            // Wait until the program has received a reading, however the threads are scheduled.
            wait(&seen);
            (COUNT / 2..COUNT).for_each(|reading| source.put(reading));
            all_put.store(true, Ordering::Release);
            // Put one reading that certainly finds room.
            wait(&emptied);
            source.put(LAST);
        });
        loop {
            let all = all_put.load(Ordering::Acquire);
            let Some(Received { reading, dropped: missing }) = drain.get() else {
                emptied.store(all, Ordering::Release);
                std::thread::yield_now();
                continue;
            };
            (got, dropped) = (got + 1, dropped + missing);
            seen.store(true, Ordering::Release);
            if reading == LAST {
                break;
            }
            // The value of a reading is the number of readings before it.
            right += u32::from(reading == expected + missing);
            expected = reading + 1;
            (0..500).for_each(|_| std::hint::spin_loop());
        }
    });
    println!("{got} got, {dropped} dropped");
    assert!(got > 8 && dropped > 0);
    assert_eq!((right, got + dropped), (got - 1, COUNT + 1));
    assert_eq!(drain.tally(), Tally { put: COUNT + 1, got, dropped });
}
