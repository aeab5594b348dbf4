//! `graftage record`.

use crate::connection::Connection;
use crate::console::say;
use crate::files::image_on;
use crate::outputs::Force;
use clap::Args;
use graftage::board::{Journal, Port};
use graftage::error::Result;
use graftage::image::ImageFile;
use graftage::record;
use std::path::PathBuf;

#[derive(Args)]
pub struct Record {
    #[command(flatten)]
    connection: Connection,
    /// File to write the record to.
    #[arg(long, short)]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
}

impl Record {
    pub fn run(self) -> Result<()> {
        let output = self.force.claims(self.connection.files()).file(&self.output)?;
        let failed = |what: String| self.connection.error(what);
        if let Port::Emulator { store: None, .. } = self.connection.port {
            return Err(failed(
                "an emulator that is only now started has recorded nothing; name the port of a running one, or its store (qemu:FIRMWARE,store=FILE)".into(),
            ));
        }
        self.connection.check()?;
        let named = &self.connection.image;
        let image = named.as_deref().map(ImageFile::read).transpose()?;
        let mut board = self.connection.open(None)?;
        let hello = board.hello()?;
        let status = hello.status.map_err(|error| failed(format!("the board rejects its image: {error}")))?;
        if let Some((image, path)) = image.as_ref().zip(named.as_ref()) {
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
