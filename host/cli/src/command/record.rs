//! `graftage record`.

use crate::console::say;
use crate::files::image_on;
use crate::line::Patience;
use crate::outputs::Force;
use clap::Args;
use graftage::board::{Journal, Port};
use graftage::error::{Error, Result};
use graftage::image::ImageFile;
use graftage::record;
use std::path::PathBuf;

#[derive(Args)]
pub struct Record {
    /// Port of the board: /dev/ttyACM0, tcp:HOST:PORT, or qemu:FIRMWARE,store=FILE for the store of an emulated board.
    #[arg(long)]
    port: Port,
    #[command(flatten)]
    patience: Patience,
    /// Image that the board should run; a board with another one is refused.
    #[arg(long)]
    image: Option<PathBuf>,
    /// File to write the record to.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

impl Record {
    pub fn run(self) -> Result<()> {
        let output = self.force.claims(self.image.iter().chain(self.port.files())).file(&self.output)?;
        let failed = |what: String| Error::Board(format!("{}: {what}", self.port));
        match &self.port {
            Port::Emulator { store: None, .. } => {
                return Err(failed(
                    "an emulator that is only now started has recorded nothing; name the port of a running one, or its store (qemu:FIRMWARE,store=FILE)".into(),
                ));
            }
            Port::Emulator { .. } if self.image.is_none() => {
                return Err(failed("an emulator needs an image to start with: name it with --image".into()));
            }
            _ => {}
        }
        let image = self.image.as_deref().map(ImageFile::read).transpose()?;
        let mut board = self.patience.open(&self.port, self.image.as_deref(), None)?;
        let hello = board.hello()?;
        let status = hello.status.map_err(|error| failed(format!("the board rejects its image: {error}")))?;
        if let Some((image, path)) = image.as_ref().zip(self.image.as_ref()) {
            image_on(image, path, hello.schema, &status)?;
        }
        let Journal { unit, bytes } = board.journal()?.ok_or_else(|| {
            failed("the board keeps no journal: its firmware or its storage has no room for one".into())
        })?;
        let record = record::Record::from_journal(&hello.board, hello.schema, status.image, unit, &bytes);
        let record = record.map_err(|missing| failed(missing.to_string()))?;
        output.write(&record.bytes(&self.output)?)?;
        let samples = record.lessons().count();
        say!(
            "{}: {samples} samples in {} bytes of journal, digest {:016x}",
            record.board,
            bytes.len(),
            record.digest()
        );
        record.alarms().for_each(|alarm| say!("{alarm}"));
        if record.has_gap() {
            say!("there is a gap after {samples} samples: what the board learnt later is not recorded");
        }
        Ok(())
    }
}
