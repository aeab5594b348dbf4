//! `graftage verify`.

use crate::console::say;
use crate::inputs::read_image;
use clap::Args;
use graftage::error::{Error, Result};
use graftage::record::{Record, identity};
use graftage::report::Verification;
use graftage::{files, replay};
use graftage_core::image::Image;
use std::path::PathBuf;

#[derive(Args)]
pub struct Verify {
    /// The record of a board's session.
    record: PathBuf,
    /// The image that the board started from.
    #[arg(long)]
    image: PathBuf,
    /// Also write the findings as JSON.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

impl Verify {
    pub fn run(self) -> Result<()> {
        let record = Record::read(&self.record)?;
        let bytes = read_image(&self.image)?;
        let image = Image::parse(&bytes).map_err(|error| Error::Image { path: self.image.clone(), error })?;
        if record.image != identity(&bytes) {
            return Err(Error::content(
                &self.image,
                format!("not the image that {} began with", self.record.display()),
            ));
        }
        let targets = vec![
            replay::recorded(&record),
            replay::with_core(&record, &image)?,
            #[cfg(feature = "torch")]
            replay::with_libtorch(&record, &image)?,
        ];
        say!("{:<16} {:>7} {:>10}  {:<16}  first difference", "target", "updates", "differing", "digest");
        for target in &targets {
            let first = target.first_difference.as_deref().unwrap_or("none");
            say!("{:<16} {:>7} {:>10}  {}  {first}", target.target, target.steps, target.differing, target.digest);
        }
        let differing: u64 = targets.iter().map(|target| target.differing).sum();
        if let Some(path) = &self.output {
            files::write_json(path, &Verification { targets })?;
        }
        if differing > 0 {
            return Err(Error::content(
                &self.record,
                format!("{differing} updates differ; the table says where first"),
            ));
        }
        Ok(())
    }
}
