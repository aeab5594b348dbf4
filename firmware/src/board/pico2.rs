//! Raspberry Pi's Pico 2: an RP2350, of which one of the two Cortex-M33 is used, at 150 MHz.
//!
//! UART 0 (GP0, GP1) is the link at 115,200 baud. Sensors are on I2C 0 (GP4, GP5), the light is the board's (GP25), and
//! the log is written by RTT. There is no store: nothing here writes to the serial flash.

use super::absent::NoFlash;
use super::cycles::Cycles;
use super::serial::Serial;
use super::{Board, Parts};
use defmt_rtt as _;
use rp235x_hal::block::ImageDef;
use rp235x_hal::clocks::init_clocks_and_plls;
use rp235x_hal::fugit::RateExtU32;
use rp235x_hal::gpio::bank0::{Gpio0, Gpio1, Gpio4, Gpio5, Gpio25};
use rp235x_hal::gpio::{FunctionI2C, FunctionSioOutput, FunctionUart, Pin, Pins, PullDown, PullUp};
use rp235x_hal::pac::{I2C0, Peripherals, UART0};
use rp235x_hal::uart::{DataBits, Enabled, StopBits, UartConfig, UartPeripheral};
use rp235x_hal::{Clock, I2C, Sio, Watchdog};

const CRYSTAL_HZ: u32 = 12_000_000;
const CORE_HZ: u32 = 150_000_000;

/// Description of the program for the boot ROM.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE_DEF: ImageDef = ImageDef::secure_exe();

/// Pico 2 board.
pub struct Pico2;

// With the pull-down that is on after a reset, an input sticks at about 2 V (erratum RP2350-E9). The receive line is
// pulled up instead, as an idle line is high.
type Line = (Pin<Gpio0, FunctionUart, PullDown>, Pin<Gpio1, FunctionUart, PullUp>);
type Bus = (Pin<Gpio4, FunctionI2C, PullUp>, Pin<Gpio5, FunctionI2C, PullUp>);

impl Board for Pico2 {
    const NAME: &'static str = "pico2";

    type Link = Serial<UartPeripheral<Enabled, UART0, Line>>;
    type Clock = Cycles<CORE_HZ>;
    type Flash = NoFlash;
    type Sensors = I2C<I2C0, Bus>;
    type Status = Pin<Gpio25, FunctionSioOutput, PullDown>;

    fn take() -> Option<Parts<Self>> {
        let core = cortex_m::Peripherals::take()?;
        let device = Peripherals::take()?;
        let mut resets = device.RESETS;
        let clocks = init_clocks_and_plls(
            CRYSTAL_HZ,
            device.XOSC,
            device.CLOCKS,
            device.PLL_SYS,
            device.PLL_USB,
            &mut resets,
            &mut Watchdog::new(device.WATCHDOG),
        )
        .ok()?;
        let pins = Pins::new(device.IO_BANK0, device.PADS_BANK0, Sio::new(device.SIO).gpio_bank0, &mut resets);
        let line = (pins.gpio0.into_function(), pins.gpio1.reconfigure());
        let rate = UartConfig::new(115_200.Hz(), DataBits::Eight, None, StopBits::One);
        let port = UartPeripheral::new(device.UART0, line, &mut resets);
        let (sda, scl) = (pins.gpio4.reconfigure(), pins.gpio5.reconfigure());
        Some(Parts {
            link: Serial(port.enable(rate, clocks.peripheral_clock.freq()).ok()?),
            clock: Cycles::start(core.DCB, core.DWT),
            flash: NoFlash,
            sensors: I2C::i2c0(device.I2C0, sda, scl, 100.kHz(), &mut resets, clocks.system_clock.freq()),
            status: pins.gpio25.into_push_pull_output(),
        })
    }

    fn end(_: bool) -> ! {
        loop {
            cortex_m::asm::wfi();
        }
    }
}
