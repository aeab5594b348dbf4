//! Tests of sensors, transaction by transaction, against their data sheets, and of features against their equations in
//! binary64.

use embedded_hal::i2c::{ErrorKind, I2c, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use graftage_firmware::sensor::amg8833::{self, Amg8833, PIXELS};
use graftage_firmware::sensor::lis3dh::{DataRate, Lis3dh, SlaveAddr, with_magnitude};
use graftage_firmware::sensor::thermometer::{Address, Thermometer};
use graftage_firmware::sensor::window::{FEATURES, Window};
use graftage_firmware::sensor::{Fault, Sensor};

const NOBODY: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

/// Lets each transaction in turn fail on the bus; checks that `work` returns the error and goes no further.
fn every_fault_is_told<T>(transactions: &[Transaction], work: impl Fn(Mock) -> Result<T, Fault<ErrorKind>>) {
    for failing in 0..transactions.len() {
        let mut expected = transactions[..=failing].to_vec();
        expected[failing] = transactions[failing].clone().with_error(NOBODY);
        let mut bus = Mock::new(&expected);
        assert_eq!(work(bus.clone()).err(), Some(Fault::Bus(NOBODY)), "transaction {failing}");
        bus.done();
    }
}

const ARRAY: u8 = 0x68;

fn array_starts() -> Vec<Transaction> {
    // Normal mode, initial reset, ten frames a second.
    [[0x00, 0x00], [0x01, 0x3f], [0x02, 0x00]].map(|command| Transaction::write(ARRAY, command.to_vec())).to_vec()
}

/// Returns the transactions of reading a frame that begins with `pixels`; all other pixels are 0 °C.
fn array_reads(pixels: &[u16]) -> Vec<Transaction> {
    let mut bytes: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    bytes.resize(2 * PIXELS, 0);
    vec![Transaction::write_read(ARRAY, vec![0x04], vec![0]), Transaction::write_read(ARRAY, vec![0x80], bytes)]
}

#[test]
fn an_infrared_frame_is_in_degrees() {
    // Values from the data sheet; bits above the twelfth are ignored.
    let sheet = [
        (0x1f4, 125.0),
        (0x064, 25.0),
        (0x001, 0.25),
        (0x000, 0.0),
        (0xfff, -0.25),
        (0xf9c, -25.0),
        (0xf24, -55.0),
        (0xf064, 25.0),
        (0x0140, 80.0),
    ];
    let mut bus = Mock::new(&[array_starts(), array_reads(&sheet.map(|(pixel, _)| pixel))].concat());
    let mut array = Amg8833::start(&mut bus, amg8833::ADDRESS).unwrap();
    let frame = array.read().unwrap().unwrap();
    assert_eq!(frame[..sheet.len()], sheet.map(|(_, celsius)| celsius));
    assert_eq!(frame[sheet.len()..], [0.0; PIXELS - 9]);
    bus.done();
}

#[test]
fn an_infrared_array_tells_what_goes_wrong_and_goes_on() {
    every_fault_is_told(&array_starts(), |bus| Amg8833::start(bus, ARRAY));
    let both = [array_starts(), array_reads(&[])].concat();
    every_fault_is_told(&both, |bus| Amg8833::start(bus, ARRAY)?.read());
    // A pixel beyond its range is reported once and cleared, and the next frame is read. An overflow of the thermistor
    // does not concern the pixels.
    let over = [
        Transaction::write_read(ARRAY, vec![0x04], vec![0b1100]),
        Transaction::write(ARRAY, vec![0x05, 0b0100]),
        Transaction::write_read(ARRAY, vec![0x04], vec![0b1000]),
    ];
    let mut bus = Mock::new(&[array_starts(), over.to_vec(), array_reads(&[0x064])[1..].to_vec()].concat());
    let mut array = Amg8833::start(&mut bus, ARRAY).unwrap();
    assert_eq!(array.read(), Err(Fault::Range));
    assert_eq!(array.read().unwrap().unwrap()[0], 25.0);
    bus.done();
}

const ACCELEROMETER: u8 = 0x18;

/// Returns the transactions that read a register as `found` and write it.
fn changes(register: u8, found: u8, written: u8) -> [Transaction; 2] {
    [
        Transaction::write_read(ACCELEROMETER, vec![register], vec![found]),
        Transaction::write(ACCELEROMETER, vec![register, written]),
    ]
}

/// Returns the transactions from the power-on values to 100 Hz, 12 bits, ±2 g and all axes, with block data update.
fn accelerometer_starts() -> Vec<Transaction> {
    let who = [Transaction::write_read(ACCELEROMETER, vec![0x0f], vec![0x33])];
    let whole = [Transaction::write(ACCELEROMETER, vec![0x23, 0x80])];
    let twelve_bits = [changes(0x20, 0x07, 0x07), changes(0x23, 0x80, 0x88)].concat();
    let rate = changes(0x20, 0x07, 0x57);
    let axes = changes(0x20, 0x57, 0x57);
    let converter = changes(0x1f, 0x00, 0x80);
    [&who[..], &whole, &twelve_bits, &rate, &axes, &converter].concat()
}

fn accelerometer_reads(status: u8, axes: [i16; 3]) -> Vec<Transaction> {
    let bytes = axes.iter().flat_map(|axis| axis.to_le_bytes()).collect();
    vec![
        Transaction::write_read(ACCELEROMETER, vec![0x27], vec![status]),
        Transaction::write_read(ACCELEROMETER, vec![0xa8], bytes),
    ]
}

fn accelerometer<B: I2c>(bus: B) -> Result<Lis3dh<B>, Fault<B::Error>> {
    Lis3dh::start(bus, SlaveAddr::Default, DataRate::Hz_100)
}

const READY: u8 = 0x0f;

#[test]
fn an_acceleration_is_in_g() {
    let not_yet = vec![Transaction::write_read(ACCELEROMETER, vec![0x27], vec![0])];
    // Values from the data sheet at 1 mg a step, left-justified: 350 mg, 1 g, −1 g, then the extremes. Lower bits are
    // ignored.
    let reads = [
        accelerometer_reads(READY, [0x15e0, 0x3e80, -0x3e80]),
        not_yet,
        accelerometer_reads(READY, [i16::MAX, i16::MIN, 0x000f]),
    ];
    let mut bus = Mock::new(&[accelerometer_starts(), reads.concat()].concat());
    let mut sensor = accelerometer(&mut bus).unwrap();
    assert_eq!(sensor.read(), Ok(Some([0.35, 1.0, -1.0])));
    assert_eq!(sensor.read(), Ok(None));
    assert_eq!(sensor.read(), Ok(Some([2.047, -2.048, 0.0])));
    bus.done();
}

#[test]
fn an_accelerometer_tells_what_goes_wrong_and_goes_on() {
    let reads = accelerometer_reads(READY, [0; 3]);
    every_fault_is_told(&[accelerometer_starts(), reads].concat(), |bus| accelerometer(bus)?.read());
    let mut bus = Mock::new(&[Transaction::write_read(ACCELEROMETER, vec![0x0f], vec![0x32])]);
    assert_eq!(accelerometer(&mut bus).err(), Some(Fault::Stranger));
    bus.done();
    // A reading that was overwritten before it was read is reported, and the next one is read.
    let reads = [accelerometer_reads(0xff, [0x3e80; 3]), accelerometer_reads(READY, [0x3e80; 3])];
    let mut bus = Mock::new(&[accelerometer_starts(), reads.concat()].concat());
    let mut sensor = accelerometer(&mut bus).unwrap();
    assert_eq!(sensor.read(), Err(Fault::Overrun));
    assert_eq!(sensor.read(), Ok(Some([1.0; 3])));
    bus.done();
}

#[test]
fn the_magnitude_does_not_depend_on_the_mounting() {
    assert_eq!(with_magnitude([3.0, -4.0, 12.0]), [3.0, -4.0, 12.0, 13.0]);
    assert_eq!(with_magnitude([-12.0, 3.0, 4.0])[3], 13.0);
}

#[test]
fn a_temperature_is_in_degrees() {
    // Values from the LM75's data sheet; bits below the ninth are ignored.
    let sheet = [([0x7d, 0x00], 125.0), ([0x19, 0x00], 25.0), ([0x00, 0x80], 0.5), ([0x00, 0x7f], 0.0)];
    let below = [([0xff, 0x80], -0.5), ([0xe7, 0x00], -25.0), ([0xc9, 0x00], -55.0)];
    for (bytes, celsius) in sheet.into_iter().chain(below) {
        let mut bus = Mock::new(&[Transaction::write_read(0x48, vec![0], bytes.to_vec())]);
        assert_eq!(Thermometer::new(&mut bus, Address::default()).read(), Ok(Some([celsius])));
        bus.done();
    }
    let read = [Transaction::write_read(0x4f, vec![0], vec![0; 2])];
    every_fault_is_told(&read, |bus| Thermometer::new(bus, Address::from(0x4f)).read());
}

/// Returns the features of a channel in binary64.
fn expected(values: &[f32]) -> [f64; FEATURES] {
    let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    let energy = values.iter().map(|v| v * v).sum::<f64>() / count;
    let peak = values.iter().map(|v| (v - mean).abs()).fold(0.0, f64::max);
    let crossings = values.windows(2).filter(|pair| (pair[0] < mean) != (pair[1] < mean)).count() as f64 / count;
    [mean, deviation, energy, peak, crossings]
}

#[test]
fn a_window_has_the_features_of_its_readings_and_each_reading_one_window() {
    let mut random = 7u32;
    let mut window = Window::<3, 21>::new();
    for full in 0..50 {
        let mut channels = [[0.0; 21]; 3];
        for i in 0..21 {
            for (c, channel) in channels.iter_mut().enumerate() {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                channel[i] = 40.0 * c as f32 + (random >> 8) as f32 / 8e6 - 1.0;
            }
            let features = window.push(channels.map(|channel| channel[i]));
            assert_eq!(features.is_some(), i == 20, "reading {i} of window {full}");
            for (found, channel) in features.iter().flatten().zip(&channels) {
                // Rounding errors are proportional to the values.
                let largest = f64::from(channel.iter().fold(0.0f32, |a, v| a.max(v.abs())));
                for (found, expected) in found.iter().zip(expected(channel)) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error <= 2e-7 * (largest + expected), "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn features_of_simple_windows_are_exact() {
    for (values, expected) in [
        ([2.0, 2.0, 2.0, 2.0], [2.0, 0.0, 4.0, 0.0, 0.0]),
        ([1.0, -1.0, 1.0, -1.0], [0.0, 1.0, 1.0, 1.0, 0.75]),
        ([0.0, 0.0, 0.0, 8.0], [2.0, 3.464_101_6, 16.0, 6.0, 0.25]),
        ([-3.0, -3.0, 3.0, 3.0], [0.0, 3.0, 9.0, 3.0, 0.25]),
    ] {
        let mut window = Window::<1, 4>::new();
        let features: Vec<_> = values.iter().filter_map(|v| window.push([*v])).collect();
        assert_eq!(features, [[expected]]);
    }
    // A value that is not finite does not become a finite feature.
    let mut window = Window::<1, 2>::new();
    window.push([f32::NAN]);
    let [[mean, deviation, energy, peak, _]] = window.push([1.0]).unwrap();
    assert!([mean, deviation, energy, peak].iter().all(|feature| feature.is_nan()));
}

#[test]
fn a_window_with_a_gap_starts_anew() {
    let mut window = Window::<1, 3>::new();
    assert_eq!((window.push([9.0]), window.push([9.0])), (None, None));
    window.clear();
    assert_eq!((window.push([1.0]), window.push([1.0])), (None, None));
    assert_eq!(window.push([1.0]), Some([[1.0, 0.0, 1.0, 0.0, 0.0]]));
}
